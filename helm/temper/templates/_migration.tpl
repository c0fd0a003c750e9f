{{/* Pod of a migration: (dict "root" $ "phases" (list "pre")). The last phase is the container, those before it
     are init containers, so that they run in order. */}}
{{- define "temper.migrationPod" -}}
{{- $root := .root -}}
{{- $context := dict "root" $root "component" "migrate" -}}
metadata:
  labels:
    {{- include "temper.podLabels" $context | nindent 4 }}
spec:
  {{- include "temper.podSpec" (dict "root" $root "component" "migration" "token" false "serviceAccount" (printf "%s-migrate" (include "temper.fullname" $root))) | nindent 2 }}
  restartPolicy: OnFailure
  {{- $last := last .phases }}
  {{- with initial .phases }}
  initContainers:
    {{- range . }}
    {{- include "temper.migrationContainer" (dict "root" $root "phase" .) | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    {{- include "temper.migrationContainer" (dict "root" $root "phase" $last) | nindent 4 }}
  volumes:
    {{- include "temper.volumes" $context | nindent 4 }}
{{- end }}

{{- define "temper.migrationContainer" -}}
- name: migrate-{{ .phase }}
  image: {{ include "temper.image" (dict "root" .root "image" "api") | quote }}
  imagePullPolicy: {{ .root.Values.images.pullPolicy }}
  command: [python, -m, service, migrate, --phase, {{ .phase }}]
  {{- include "temper.containerSecurity" .root | nindent 2 }}
  env:
    {{- include "temper.environment" (dict "root" .root "component" "migrate") | nindent 4 }}
    {{- with .root.Values.migration.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  resources:
    {{- toYaml .root.Values.migration.resources | nindent 4 }}
  volumeMounts:
    {{- include "temper.mounts" (dict "root" .root "component" "migrate") | nindent 4 }}
{{- end }}
