"""Accuracy of a served pipeline on a labelled set.

datasets.load() ─▶ Dataset ─▶ run.predict_all() ─▶ Detections of each image
─▶ detection.evaluate(): mAP, precision, recall, matches   (pycocotools)
─▶ classification.figures(): top-1, top-5, confusion       (of the matched boxes)
─▶ report.Report ─▶ JSON, or page.render()
"""
