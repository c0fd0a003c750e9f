{{/* The operator's file, as deploy/kubernetes/settings.py reads it. */}}

{{- define "temper.clusterSettings" -}}
release: {{ .Release.Name }}
broker_url: {{ include "temper.brokerUrl" . | quote }}
broker_audience: {{ .Values.broker.audience | quote }}
{{- with include "temper.brokerCa" . }}
broker_ca_config_map: {{ . }}
{{- end }}
gpu:
  resource: {{ .Values.gpu.resource | quote }}
  type_label: {{ .Values.gpu.typeLabel | quote }}
{{- $jobs := .Values.jobs }}
jobs:
  namespace: {{ include "temper.jobsNamespace" . }}
  service_account: {{ include "temper.fullname" . }}-job
  image: {{ include "temper.image" (dict "root" . "image" "trainer") | quote }}
  image_pull_policy: {{ .Values.images.pullPolicy }}
  image_pull_secrets: {{ toJson .Values.global.imagePullSecrets }}
  {{- range $key, $run := dict "job" $jobs.training "scan" $jobs.scanning }}
  {{ $key }}:
    gpus: {{ $run.gpus | int }}
    max_gpus: {{ $run.maxGpus | int }}
    cpu: {{ $run.cpu | quote }}
    memory: {{ $run.memory | quote }}
    shm: {{ $run.shm | quote }}
    scratch: {{ $run.scratch | quote }}
    {{- with $run.scratchClass }}
    scratch_class: {{ . }}
    {{- end }}
    placement:
      {{- include "temper.placement" (dict "root" $ "run" $run "class" "jobs") | nindent 6 }}
  {{- end }}
  {{- with $jobs.queue }}
  queue: {{ . }}
  {{- end }}
  queues: {{ toJson $jobs.queues }}
  pending_timeout_s: {{ $jobs.pendingTimeoutSeconds | int }}
  ttl_s: {{ $jobs.ttlSeconds | int }}
  grace_s: {{ $jobs.graceSeconds | int }}
  environment: {{ toJson $jobs.environment }}
{{- $endpoints := .Values.endpoints }}
endpoints:
  namespace: {{ include "temper.endpointsNamespace" . }}
  service_account: {{ include "temper.fullname" . }}-endpoint
  image: {{ include "temper.image" (dict "root" . "image" "vllm") | quote }}
  fetch_image: {{ include "temper.image" (dict "root" . "image" "api") | quote }}
  image_pull_policy: {{ .Values.images.pullPolicy }}
  image_pull_secrets: {{ toJson .Values.global.imagePullSecrets }}
  command: {{ toJson $endpoints.command }}
  gpus: {{ $endpoints.gpus | int }}
  max_gpus: {{ $endpoints.maxGpus | int }}
  cpu: {{ $endpoints.cpu | quote }}
  memory: {{ $endpoints.memory | quote }}
  shm: {{ $endpoints.shm | quote }}
  scratch: {{ $endpoints.scratch | quote }}
  max_replicas: {{ $endpoints.maxReplicas | int }}
  autoscaler: {{ $endpoints.autoscaler | quote }}
  {{- with $endpoints.prometheusUrl }}
  prometheus_url: {{ . | quote }}
  {{- end }}
  waiting_per_replica: {{ $endpoints.waitingPerReplica | int }}
  start_timeout_s: {{ $endpoints.startTimeoutSeconds | int }}
  placement:
    {{- include "temper.placement" (dict "root" $ "run" $endpoints "class" "endpoints") | nindent 4 }}
  environment: {{ toJson $endpoints.environment }}
{{- end }}

{{- define "temper.brokerUrl" -}}
{{- if .Values.broker.url -}}
{{- .Values.broker.url -}}
{{- else -}}
{{- printf "%s://%s-broker.%s.svc:8002" (ternary "https" "http" (ne .Values.broker.tls.existingSecret "")) (include "temper.fullname" .) .Release.Namespace -}}
{{- end -}}
{{- end }}

{{- define "temper.brokerCa" -}}
{{- if .Values.broker.ca -}}
{{- printf "%s-broker-ca" (include "temper.fullname" .) -}}
{{- else -}}
{{- .Values.broker.caConfigMap -}}
{{- end -}}
{{- end }}

{{- define "temper.placement" -}}
node_selector: {{ toJson .run.nodeSelector }}
tolerations: {{ toJson .run.tolerations }}
affinity: {{ toJson .run.affinity }}
{{- with include "temper.priorityClass" . }}
priority_class: {{ . }}
{{- end }}
{{- with .run.runtimeClassName }}
runtime_class: {{ . }}
{{- end }}
{{- end }}

{{/* The one that is named, or the one that this chart makes. */}}
{{- define "temper.priorityClass" -}}
{{- if .run.priorityClassName -}}
{{- .run.priorityClassName -}}
{{- else if .root.Values.priorityClasses.create -}}
{{- printf "%s-%s" (include "temper.fullname" .root) .class -}}
{{- end -}}
{{- end }}
