{{/* Names and labels. Every object of the chart is called by what stands here. */}}

{{- define "temper.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* 40 characters leave room for the longest suffix and, in pods' names, for what Kubernetes adds. */}}
{{- define "temper.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "temper.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "temper.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "temper.jobsNamespace" -}}
{{- .Values.jobs.namespace.name | default (printf "%s-jobs" (.Release.Namespace | default .Release.Name)) -}}
{{- end }}

{{- define "temper.endpointsNamespace" -}}
{{- .Values.endpoints.namespace.name | default (printf "%s-endpoints" (.Release.Namespace | default .Release.Name)) -}}
{{- end }}

{{/* Labels that pods are selected by; they never change in the life of a release. "name" is temper whatever
     nameOverride says: the reconciler puts the same one on what it makes. */}}
{{- define "temper.releaseLabels" -}}
app.kubernetes.io/name: temper
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of (dict "root" $ "component" "api"). */}}
{{- define "temper.selector" -}}
{{ include "temper.releaseLabels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of a pod: without the chart's version, or every new chart would replace every pod. */}}
{{- define "temper.podLabels" -}}
{{ include "temper.selector" . }}
app.kubernetes.io/part-of: temper
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* All labels of an object: (dict "root" $ "component" "api"). */}}
{{- define "temper.labels" -}}
{{ include "temper.selector" . }}
app.kubernetes.io/part-of: temper
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Metadata of an object: (dict "root" $ "component" "api" "name" "..." "namespace" "..." "annotations" (dict)). */}}
{{- define "temper.metadata" -}}
name: {{ .name }}
{{- if not .cluster }}
namespace: {{ .namespace | default .root.Release.Namespace }}
{{- end }}
labels:
  {{- include "temper.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
