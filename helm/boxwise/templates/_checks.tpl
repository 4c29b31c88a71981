{{/* What the schema cannot say: values that are wrong together. Each fails with a message that names the fix. */}}
{{- define "boxwise.checks" -}}
{{- $v := .Values -}}
{{- $many := gt (int (include "boxwise.mostReplicas" .)) 1 -}}
{{- $target := include "boxwise.target" . -}}
{{- if and (semverCompare "<26.7.0-0" (include "boxwise.tritonSemver" .)) (not $v.triton.acceptVulnerable) -}}
{{- fail (printf "triton.version %s has vulnerabilities that NVIDIA has published (26.07 is the oldest accepted): build the image on 26.09, or set triton.acceptVulnerable=true on a cluster that nobody else reaches" $v.triton.version) -}}
{{- end -}}
{{- if and $v.autoscaling.hpa.enabled $v.autoscaling.keda.enabled -}}
{{- fail "autoscaling.hpa and autoscaling.keda are both enabled, and would fight over the replicas: keep one" -}}
{{- end -}}
{{- if and $v.autoscaling.keda.enabled (not $v.autoscaling.keda.prometheusAddress) -}}
{{- fail "autoscaling.keda asks Prometheus: give autoscaling.keda.prometheusAddress, such as http://prometheus-operated.monitoring:9090" -}}
{{- end -}}
{{- if and $v.autoscaling.hpa.enabled (not $v.monitoring.prometheusRule.enabled) -}}
{{- fail "autoscaling.hpa reads metrics that the PrometheusRule records: set monitoring.prometheusRule.enabled=true, or scale by autoscaling.keda" -}}
{{- end -}}
{{- if and (include "boxwise.scaled" .) (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas %d is more than autoscaling.maxReplicas %d" (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and (eq $target "tensorrt") (eq (int $v.gpu.count) 0) -}}
{{- fail "target tensorrt needs a GPU, and gpu.count is 0: set gpu.count to 1, or target to embedded" -}}
{{- end -}}
{{- if and (eq $target "tensorrt") (eq $v.repository.source "objectStore") -}}
{{- fail "target tensorrt builds its plans into files, and repository.source objectStore has Triton read the store itself: use repository.source init, which fetches them" -}}
{{- end -}}
{{- if and (ne $target "embedded") (eq $v.pipeline.layout "fused") -}}
{{- fail (printf "pipeline.layout fused runs its networks on the CPU, whatever the target: for %s lay the models out by `boxwise layout REPO ensemble`, or set gpu.count to 0" $target) -}}
{{- end -}}
{{- if and $many (eq $v.repository.source "pvc") (not $v.repository.pvc.existingClaim) -}}
{{- if not (without $v.repository.pvc.accessModes "ReadWriteOnce" "ReadWriteOncePod") -}}
{{- fail (printf "repository.pvc.accessModes %s lets one node mount the models, and %s pods are on several: use ReadWriteMany or ReadOnlyMany, another repository.source, or one replica" (toJson $v.repository.pvc.accessModes) (include "boxwise.mostReplicas" .)) -}}
{{- end -}}
{{- end -}}
{{- if and $many (include "boxwise.builds" .) (not $v.engines.cache.existingClaim) (not (without $v.engines.cache.accessModes "ReadWriteOnce" "ReadWriteOncePod")) -}}
{{- fail (printf "engines.cache.accessModes %s lets one node mount the plans, and %s pods are on several: use ReadWriteMany, or one replica" (toJson $v.engines.cache.accessModes) (include "boxwise.mostReplicas" .)) -}}
{{- end -}}
{{- if and (eq $v.repository.source "objectStore") (not $v.repository.objectStore.url) -}}
{{- fail "repository.source objectStore needs repository.objectStore.url: s3://, gs:// or as://" -}}
{{- end -}}
{{- if and (eq $v.repository.source "init") (or (not $v.repository.init.image) (not $v.repository.init.command)) -}}
{{- fail "repository.source init needs repository.init.image and repository.init.command" -}}
{{- end -}}
{{- if and (eq $v.repository.source "nfs") (or (not $v.repository.nfs.server) (not $v.repository.nfs.path)) -}}
{{- fail "repository.source nfs needs repository.nfs.server and repository.nfs.path" -}}
{{- end -}}
{{- if eq $v.repository.source "image" -}}
{{- if not $v.repository.image.reference -}}
{{- fail "repository.source image needs repository.image.reference" -}}
{{- end -}}
{{- if semverCompare "<1.31.0-0" .Capabilities.KubeVersion.Version -}}
{{- fail (printf "repository.source image needs Kubernetes 1.31, and this is %s: use repository.source init" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and (semverCompare "<1.35.0-0" .Capabilities.KubeVersion.Version) (not $v.repository.image.featureGate) -}}
{{- fail (printf "repository.source image needs the feature gate ImageVolume, which is off by default in Kubernetes %s: turn it on and set repository.image.featureGate=true, or use repository.source init" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and $v.repository.image.subPath (semverCompare "<1.33.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "repository.image.subPath needs Kubernetes 1.33, and this is %s" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}
{{- if lt (int (include "boxwise.grace" .)) (int (include "boxwise.leastGrace" .)) -}}
{{- fail (printf "terminationGracePeriodSeconds %s is shorter than its parts: a sleep of %s, an exit timeout of %s and 25 for connections to close; raise it to %s, or lower drain" (include "boxwise.grace" .) (include "boxwise.sleep" .) (include "boxwise.exitTimeout" .) (include "boxwise.leastGrace" .)) -}}
{{- end -}}
{{- if and $v.tls.enabled (not $v.tls.secretName) -}}
{{- fail "tls.enabled needs tls.secretName: a Secret with tls.crt and tls.key" -}}
{{- end -}}
{{- if and $v.tls.enabled $v.triton.http -}}
{{- fail "Triton serves HTTP without TLS, so tls.enabled would leave a way around it: set triton.http=false" -}}
{{- end -}}
{{- if and $v.tls.clientCertificates (not $v.tls.enabled) -}}
{{- fail "tls.clientCertificates needs tls.enabled" -}}
{{- end -}}
{{- if and $v.grpcRoute.enabled (not $v.grpcRoute.parentRefs) -}}
{{- fail "grpcRoute.enabled needs grpcRoute.parentRefs: the gateway that it belongs to" -}}
{{- end -}}
{{- if and (eq $v.triton.modelControl "explicit") (not $v.restrictedProtocols.enabled) -}}
{{- fail "triton.modelControl explicit lets clients load and unload models, and restrictedProtocols.enabled is false: turn it on" -}}
{{- end -}}
{{- if and (eq (int $v.rollingUpdate.maxSurge) 0) (eq (int $v.rollingUpdate.maxUnavailable) 0) -}}
{{- fail "rollingUpdate.maxSurge and rollingUpdate.maxUnavailable are both 0: no pod could ever be replaced" -}}
{{- end -}}
{{- end -}}
