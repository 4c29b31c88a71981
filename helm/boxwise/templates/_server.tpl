{{/*
The server's arguments. Their reasons are those of runtime/boxwise_runtime/launcher/command.py, which a test holds this to.
*/}}
{{- define "boxwise.arguments" -}}
{{- $v := .Values -}}
{{- $target := include "boxwise.target" . -}}
- --model-repository={{ if eq $v.repository.source "objectStore" }}{{ $v.repository.objectStore.url }}{{ else }}{{ $v.repository.mountPath }}{{ end }}
{{- if ne $target "embedded" }}
- --model-config-name={{ $target }}
{{- end }}
- --model-control-mode={{ $v.triton.modelControl }}
{{- if eq $v.triton.modelControl "explicit" }}
# All that is there, to begin with: left to itself, `explicit` loads nothing.
- --load-model=*
{{- end }}
- "--grpc-address={{ include "boxwise.bracketed" $v.triton.listenAddress }}"
- "--http-address={{ include "boxwise.prefixed" (include "boxwise.httpAddress" .) }}"
- "--metrics-address={{ include "boxwise.prefixed" $v.triton.listenAddress }}"
- --grpc-port={{ $v.ports.grpc }}
- --http-port={{ $v.ports.http }}
- --metrics-port={{ $v.ports.metrics }}
# config.pbtxt is complete; Triton adds nothing.
- --disable-auto-complete-config
- --strict-readiness=true
# For requests in flight when it stops.
- --exit-timeout-secs={{ include "boxwise.exitTimeout" . }}
# A name by which a restarted container finds what a killed one left in /dev/shm.
- --backend-config=python,shm-region-prefix-name=boxwise-server-
# Triton's minimum: the pages of a stage's region are allocated immediately.
- --backend-config=python,shm-default-byte-size=1048576
{{- with $v.triton.responseCacheMiB }}
- --cache-config=local,size={{ mul . 1048576 }}
{{- end }}
{{- if and $v.triton.clientSharedMemory (semverCompare ">=26.4.0-0" (include "boxwise.tritonSemver" .)) }}
# Since 26.04 off by default.
- --allow-client-shm=true
{{- end }}
{{- if $v.tls.enabled }}
- --grpc-use-ssl=true
- --grpc-server-cert=/tls/tls.crt
- --grpc-server-key=/tls/tls.key
{{- if $v.tls.clientCertificates }}
- --grpc-use-ssl-mutual=true
- --grpc-root-cert=/tls/ca.crt
{{- end }}
{{- end }}
{{- if $v.restrictedProtocols.enabled }}
# All but inference, health and metadata; without shared memory where clients are to use it.
{{- $protocols := list "model-repository" "model-config" "statistics" "trace" "logging" }}
{{- if not $v.triton.clientSharedMemory }}{{ $protocols = append $protocols "shared-memory" }}{{ end }}
- --grpc-restricted-protocol={{ join "," $protocols }}:{{ $v.restrictedProtocols.header }}=$(BOXWISE_ADMIN_TOKEN)
- --http-restricted-api={{ join "," $protocols }}:{{ $v.restrictedProtocols.header }}=$(BOXWISE_ADMIN_TOKEN)
{{- end }}
{{- range $v.triton.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "boxwise.environment" -}}
# Keep freed memory: otherwise glibc returns an image's blocks to the kernel and faults them in again.
- name: MALLOC_MMAP_THRESHOLD_
  value: "33554432"
- name: MALLOC_TRIM_THRESHOLD_
  value: "16777216"
{{- if .Values.restrictedProtocols.enabled }}
- name: BOXWISE_ADMIN_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "boxwise.tokenSecret" . }}
      key: {{ .Values.restrictedProtocols.secretKey }}
{{- end }}
{{- if eq .Values.repository.source "objectStore" }}
{{- range $name, $value := .Values.repository.objectStore.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* One image through the pipeline (boxwise_runtime/probe.py). The kubelet's timeout comes a second later, so that the probe's message is reported. */}}
{{- define "boxwise.probe" -}}
exec:
  command:
    - python3
    - -m
    - boxwise_runtime.probe
    - {{ .root.Values.pipeline.name }}
    - --host
    - {{ include "boxwise.loopback" .root | quote }}
    - --http-port
    - {{ .root.Values.ports.http | quote }}
    - --metrics-port
    - {{ .root.Values.ports.metrics | quote }}
    - --timeout
    - {{ .probe.timeoutSeconds | quote }}
periodSeconds: {{ .probe.periodSeconds }}
timeoutSeconds: {{ add .probe.timeoutSeconds 1 }}
failureThreshold: {{ .probe.failureThreshold }}
{{- end -}}

{{- define "boxwise.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- if gt (int .Values.gpu.count) 0 -}}
{{- /* Of what is counted in devices, requests are the limits. */ -}}
{{- $_ := set $resources "limits" (set (default dict $resources.limits) .Values.gpu.resource (int .Values.gpu.count)) -}}
{{- end -}}
{{ toYaml $resources }}
{{- end -}}

{{/* Where the repository's volume is mounted: where the server reads it, or beside that where the server reads a copy. */}}
{{- define "boxwise.sourceMount" -}}
- name: repository
  mountPath: {{ ternary "/source" .Values.repository.mountPath (eq (include "boxwise.builds" .) "true") }}
  readOnly: true
  {{- if and (eq .Values.repository.source "pvc") .Values.repository.pvc.subPath }}
  subPath: {{ .Values.repository.pvc.subPath }}
  {{- end }}
  {{- if and (eq .Values.repository.source "image") .Values.repository.image.subPath }}
  subPath: {{ .Values.repository.image.subPath }}
  {{- end }}
{{- end -}}

{{- define "boxwise.initContainers" -}}
{{- $v := .Values -}}
{{- if eq $v.repository.source "init" }}
- name: fetch
  image: {{ $v.repository.init.image }}
  command: {{ toJson $v.repository.init.command }}
  env:
    - name: MODELS
      value: {{ $v.repository.mountPath }}
    # Clients of stores keep their settings at home, and nothing else can be written.
    - name: HOME
      value: /tmp
    {{- with $v.repository.init.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $v.repository.init.credentialsSecret }}
  envFrom:
    - secretRef:
        name: {{ . }}
  {{- end }}
  resources:
    {{- toYaml $v.resources | nindent 4 }}
  securityContext:
    {{- toYaml $v.securityContext | nindent 4 }}
  volumeMounts:
    - name: models
      mountPath: {{ $v.repository.mountPath }}
    - name: tmp
      mountPath: /tmp
{{- end }}
{{- if include "boxwise.builds" . }}
# Plans load only in the TensorRT that built them and on such a GPU, so each pod builds for its own, or finds them built.
- name: engines
  image: {{ include "boxwise.image" . }}
  imagePullPolicy: {{ $v.image.pullPolicy }}
  command:
    - /bin/sh
    - -ec
    - |
      {{- if ne $v.repository.source "init" }}
      cp -RLf /source/. "$MODELS"
      {{- end }}
      exec timeout {{ $v.engines.timeoutSeconds }} boxwise build-engines "$MODELS" "$@"
    - boxwise
    - --pipeline={{ $v.pipeline.name }}
    - --workspace={{ $v.engines.workspaceGiB }}
    {{- if $v.engines.pictures }}
    - --calibration={{ $v.engines.pictures }}
    {{- else }}
    - --no-check
    {{- end }}
  env:
    - name: MODELS
      value: {{ $v.repository.mountPath }}
    - name: BOXWISE_CACHE
      value: /engines/boxwise
  resources:
    {{- include "boxwise.resources" . | nindent 4 }}
  securityContext:
    {{- toYaml $v.securityContext | nindent 4 }}
  volumeMounts:
    {{- if ne $v.repository.source "init" }}
    {{- include "boxwise.sourceMount" . | nindent 4 }}
    {{- end }}
    - name: models
      mountPath: {{ $v.repository.mountPath }}
    - name: engines
      mountPath: /engines
    - name: tmp
      mountPath: /tmp
{{- end }}
{{- end -}}

{{- define "boxwise.volumes" -}}
{{- $v := .Values -}}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ $v.shmSize }}
- name: tmp
  emptyDir:
    sizeLimit: {{ $v.tmpSize }}
{{- if or (eq $v.repository.source "init") (include "boxwise.builds" .) }}
- name: models
  emptyDir:
    sizeLimit: {{ $v.repository.copySize }}
{{- end }}
{{- if eq $v.repository.source "pvc" }}
- name: repository
  persistentVolumeClaim:
    claimName: {{ include "boxwise.modelsClaim" . }}
    readOnly: true
{{- else if eq $v.repository.source "nfs" }}
- name: repository
  persistentVolumeClaim:
    claimName: {{ include "boxwise.fullname" . }}-models
    readOnly: true
{{- else if eq $v.repository.source "image" }}
- name: repository
  image:
    reference: {{ $v.repository.image.reference }}
    pullPolicy: {{ $v.repository.image.pullPolicy }}
{{- end }}
{{- if include "boxwise.builds" . }}
- name: engines
  persistentVolumeClaim:
    claimName: {{ include "boxwise.enginesClaim" . }}
{{- end }}
{{- if $v.tls.enabled }}
- name: tls
  secret:
    secretName: {{ $v.tls.secretName }}
    # The group's, which fsGroup gives to the server.
    defaultMode: 0440
{{- end }}
{{- end -}}
