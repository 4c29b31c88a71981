"""The parity gate: an export that differs from its source is not published.

images ─▶ the stages (runner)  ─┐
images ─▶ Source.run           ─┴─▶ gate.py: pixels, raw outputs, detections, labels
                                    ─▶ ParityReport, against limits.py
"""
