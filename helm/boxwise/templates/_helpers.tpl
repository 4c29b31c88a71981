{{- define "boxwise.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 50 characters, since suffixes follow: a label's value and a Service's name have 63. */}}
{{- define "boxwise.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "boxwise.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What never changes in the life of a release: selectors are immutable. */}}
{{- define "boxwise.selector" -}}
app.kubernetes.io/name: {{ include "boxwise.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{/* Labels of every object; `component` says which. Called with (dict "root" $ "component" "server"). */}}
{{- define "boxwise.labels" -}}
{{- with .root -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "boxwise.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: boxwise
{{ end -}}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "boxwise.image" -}}
{{- $tag := default (printf "%s-triton%s" .Chart.AppVersion .Values.triton.version) .Values.image.tag -}}
{{- .Values.image.repository -}}:{{- $tag -}}{{- with .Values.image.digest -}}@{{- . -}}{{- end -}}
{{- end -}}

{{/* 26.07 as semver has it, 26.7.0: it allows no leading zeros. */}}
{{- define "boxwise.tritonSemver" -}}
{{- printf "%s.0" (regexReplaceAll "[.]0*" .Values.triton.version ".") -}}
{{- end -}}

{{- define "boxwise.serviceAccountName" -}}
{{- default (ternary (include "boxwise.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "boxwise.target" -}}
{{- default (ternary "embedded" "onnxruntime" (eq (int .Values.gpu.count) 0)) .Values.target -}}
{{- end -}}

{{/* Plans are built into a copy of the repository that the pod has for itself: another pod's GPU may be of another kind. */}}
{{- define "boxwise.builds" -}}
{{- if eq (include "boxwise.target" .) "tensorrt" }}true{{ end -}}
{{- end -}}

{{- define "boxwise.scaled" -}}
{{- if or .Values.autoscaling.hpa.enabled .Values.autoscaling.keda.enabled }}true{{ end -}}
{{- end -}}

{{- define "boxwise.mostReplicas" -}}
{{- if include "boxwise.scaled" . }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicas }}{{ end -}}
{{- end -}}

{{- define "boxwise.modelsClaim" -}}
{{- default (printf "%s-models" (include "boxwise.fullname" .)) .Values.repository.pvc.existingClaim -}}
{{- end -}}

{{- define "boxwise.enginesClaim" -}}
{{- default (printf "%s-engines" (include "boxwise.fullname" .)) .Values.engines.cache.existingClaim -}}
{{- end -}}

{{- define "boxwise.tokenSecret" -}}
{{- default (printf "%s-admin" (include "boxwise.fullname" .)) .Values.restrictedProtocols.existingSecret -}}
{{- end -}}

{{/* Where probes find the server: on loopback, unless it is bound to one address alone. */}}
{{- define "boxwise.loopback" -}}
{{- get (dict "0.0.0.0" "127.0.0.1" "::" "::1") .Values.triton.listenAddress | default .Values.triton.listenAddress -}}
{{- end -}}
{{- define "boxwise.httpAddress" -}}
{{- ternary .Values.triton.listenAddress (include "boxwise.loopback" .) .Values.triton.http -}}
{{- end -}}
{{/* A host as gRPC, or the library under HTTP and metrics, wants to read it where it is one of IPv6. */}}
{{- define "boxwise.bracketed" -}}{{ ternary (printf "[%s]" .) . (contains ":" .) }}{{- end -}}
{{- define "boxwise.prefixed" -}}{{ ternary (printf "ipv6:%s" .) . (contains ":" .) }}{{- end -}}

{{/*
One `drain` in its parts: sleep, exit timeout, grace period. The 25 seconds at the end: gRPC waits up to 20 for connected
clients to answer its goodbye, which one that is silent and single-threaded does not read (measured: 22 s from SIGTERM), and 5.
*/}}
{{- define "boxwise.exitTimeout" -}}{{ div (int .Values.drain) 3 }}{{- end -}}
{{- define "boxwise.sleep" -}}{{ sub (int .Values.drain) (div (int .Values.drain) 3) }}{{- end -}}
{{- define "boxwise.leastGrace" -}}{{ add (int .Values.drain) 25 }}{{- end -}}
{{- define "boxwise.grace" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- include "boxwise.leastGrace" . -}}
{{- else -}}
{{- int .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{/* The models whose queues count. An ensemble's own is wrong (Triton's #6494), and so is that of what asks for information. */}}
{{- define "boxwise.stages" -}}
{{- $p := .Values.pipeline.name -}}
model=~"{{ $p }}{{ ternary "_.+" "(_.+)?" (eq .Values.pipeline.layout "ensemble") }}",model!~"{{ $p }}_(raw|info)"
{{- end -}}

{{/* The models that clients call. Joined layouts count a raw frame as a request of the pipeline too. */}}
{{- define "boxwise.requests" -}}
{{- $p := .Values.pipeline.name -}}
{{- if eq .Values.pipeline.layout "ensemble" -}}model=~"{{ $p }}(_raw)?"{{- else -}}model="{{ $p }}"{{- end -}}
{{- end -}}

{{/* Milliseconds per second of the models that clients call. Triton's own figure ends when a process of ours takes the request. */}}
{{- define "boxwise.query.spent" -}}
{{- $of := printf "%s,%s" (include "boxwise.series" .) (include "boxwise.requests" .) -}}
sum(sum by (model) (rate(nv_inference_queue_duration_us{ {{- $of -}} }[5m])) / 1000 + sum by (model) (rate(boxwise_queue_seconds_total{ {{- $of -}} }[5m]) + rate(boxwise_work_seconds_total{ {{- $of -}} }[5m])) * 1000 or sum by (model) (rate(nv_inference_request_duration_us{ {{- $of -}} }[5m])) / 1000)
{{- end -}}

{{/* This release's series, as the ServiceMonitor labels them: job is the Service's name. */}}
{{- define "boxwise.series" -}}
namespace="{{ .Release.Namespace }}",job="{{ include "boxwise.fullname" . }}"
{{- end -}}
