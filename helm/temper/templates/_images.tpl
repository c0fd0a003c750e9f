{{/* References of images. */}}

{{/* A whole reference: (dict "root" $ "image" "api"). A digest wins over a tag. */}}
{{- define "temper.image" -}}
{{- $image := index .root.Values.images .image -}}
{{- $name := include "temper.imageName" . -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* Registry and repository, without tag or digest. */}}
{{- define "temper.imageName" -}}
{{- $image := index .root.Values.images .image -}}
{{- $registry := $image.registry | default .root.Values.global.imageRegistry -}}
{{- if $registry -}}{{ trimSuffix "/" $registry }}/{{- end -}}
{{- $image.repository -}}
{{- end }}

{{- define "temper.imagePullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
