{{/* A Deployment of the api image: (dict "root" $ "component" "api" "role" "api" "port" 8000 "token" false). */}}
{{- define "temper.deployment" -}}
{{- $root := .root -}}
{{- $values := index $root.Values .component -}}
{{- $name := printf "%s-%s" (include "temper.fullname" $root) .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "temper.metadata" (dict "root" $root "component" .component "name" $name) | nindent 2 }}
spec:
  {{- if not (and (eq .component "api") $values.autoscaling.enabled) }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  selector:
    matchLabels:
      {{- include "temper.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "temper.podLabels" . | nindent 8 }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        checksum/cluster: {{ include "temper.clusterSettings" $root | sha256sum }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "temper.podSpec" (dict "root" $root "component" .component "token" .token "serviceAccount" $name) | nindent 6 }}
      terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
      topologySpreadConstraints:
        {{- include "temper.spread" . | nindent 8 }}
      containers:
        - name: {{ .component }}
          image: {{ include "temper.image" (dict "root" $root "image" "api") | quote }}
          imagePullPolicy: {{ $root.Values.images.pullPolicy }}
          command: [python, -m, service, {{ .role }}]
          {{- include "temper.containerSecurity" $root | nindent 10 }}
          ports:
            - name: http
              containerPort: {{ .port }}
              protocol: TCP
          env:
            {{- include "temper.environment" . | nindent 12 }}
            {{- with $values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- include "temper.probes" (dict "probes" $values.probes "scheme" (ternary "HTTPS" "HTTP" (and (eq .component "broker") (ne $root.Values.broker.tls.existingSecret "")))) | nindent 10 }}
          {{- if $values.preStopSleepSeconds }}
          lifecycle:
            preStop:
              sleep:
                seconds: {{ $values.preStopSleepSeconds }}
          {{- end }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            {{- include "temper.mounts" . | nindent 12 }}
            {{- with $values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        {{- include "temper.volumes" . | nindent 8 }}
        {{- with $values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}

{{/* What all pods of the release share. */}}
{{- define "temper.podSpec" -}}
{{- $values := index .root.Values .component -}}
serviceAccountName: {{ .serviceAccount }}
automountServiceAccountToken: {{ .token }}
# Else Kubernetes would put TEMPER_..._SERVICE_HOST and the like into the environment, and the process refuses
# to start over variables that it does not know.
enableServiceLinks: false
{{- with include "temper.imagePullSecrets" .root }}
{{- . }}
{{- end }}
{{ include "temper.podSecurity" .root }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* As asked, or over zones and nodes as well as can be. */}}
{{- define "temper.spread" -}}
{{- $values := index .root.Values .component -}}
{{- if $values.topologySpreadConstraints -}}
{{- toYaml $values.topologySpreadConstraints -}}
{{- else -}}
{{- $context := . -}}
{{- range $index, $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
{{- if $index }}
{{ end -}}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "temper.selector" $context | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end -}}
{{- end -}}
{{- end }}

{{- define "temper.probes" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: http
    scheme: {{ .scheme }}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: {{ .probes.startupFailureThreshold }}
readinessProbe:
  httpGet:
    path: /readyz
    port: http
    scheme: {{ .scheme }}
  periodSeconds: {{ .probes.periodSeconds }}
  timeoutSeconds: {{ .probes.timeoutSeconds }}
  failureThreshold: 2
# Not /readyz: a database that is away must not restart every pod.
livenessProbe:
  httpGet:
    path: /healthz
    port: http
    scheme: {{ .scheme }}
  periodSeconds: {{ .probes.periodSeconds }}
  timeoutSeconds: {{ .probes.timeoutSeconds }}
  failureThreshold: 6
{{- end }}
