{{/* What a process of the api image is told: variables, and the files they name. */}}

{{/* Settings of (dict "root" $ "component" "api" "port" 8000). Only variables that service/settings.py knows: it
     refuses to start over any other. */}}
{{- define "temper.environment" -}}
{{- $settings := .root.Values.settings -}}
{{- $serves := ne .component "migrate" -}}
- name: TEMPER_HOME
  value: /var/lib/temper
- name: TEMPER_HOST
  value: {{ $settings.host | quote }}
- name: TEMPER_LOG_LEVEL
  value: {{ $settings.logLevel }}
{{ include "temper.databaseEnvironment" .root }}
{{- if $serves }}
- name: TEMPER_PORT
  value: {{ .port | quote }}
- name: TEMPER_STORE_URI
  value: {{ include "temper.storeUri" .root }}
- name: TEMPER_CLUSTER_FILE
  value: /etc/temper/cluster/cluster.yaml
- name: TEMPER_MAX_FILE_BYTES
  value: {{ $settings.maxFileBytes | int64 | quote }}
- name: TEMPER_UPLOAD_IDLE_S
  value: {{ $settings.uploadIdleSeconds | quote }}
- name: TEMPER_MAX_RUNNING_JOBS
  value: {{ $settings.maxRunningJobs | int | quote }}
- name: TEMPER_MAX_RUNNING_SCANS
  value: {{ $settings.maxRunningScans | int | quote }}
- name: TEMPER_MAX_ATTEMPTS
  value: {{ $settings.maxAttempts | int | quote }}
- name: TEMPER_JOB_DEADLINE_S
  value: {{ $settings.jobDeadlineSeconds | int | quote }}
- name: TEMPER_SCAN_DEADLINE_S
  value: {{ $settings.scanDeadlineSeconds | int | quote }}
- name: TEMPER_STALL_S
  value: {{ $settings.stallSeconds | int | quote }}
- name: TEMPER_MAX_ENDPOINTS
  value: {{ $settings.maxEndpoints | int | quote }}
- name: TEMPER_RECONCILE_INTERVAL_S
  value: {{ $settings.reconcileIntervalSeconds | quote }}
{{- if has .component (list "api" "reconciler") }}
{{- range $name, $most := .root.Values.limits }}
{{- if not (kindIs "invalid" $most) }}
- name: TEMPER_LIMIT_{{ $name | snakecase | upper }}
  value: {{ $most | int64 | quote }}
{{- end }}
{{- end }}
- name: TEMPER_AUDIT_DAYS
  value: {{ .root.Values.audit.days | int | quote }}
{{- end }}
{{- if eq .component "api" }}
- name: TEMPER_API_KEY_FILE
  value: /etc/temper/secrets/api-key
{{- end }}
{{- if eq .component "reconciler" }}
- name: TEMPER_SIGNING_KEY_FILE
  value: /etc/temper/secrets/signing-key.pem
{{- if .root.Values.signing.trustedKey }}
- name: TEMPER_SIGNING_TRUSTED_FILE
  value: /etc/temper/secrets/trusted-keys.pem
{{- end }}
{{- end }}
{{- if has .component (list "api" "reconciler") }}
{{- $serve := .root.Values.endpoints.serve }}
- name: TEMPER_SERVE_VERDICTS
  value: {{ join "," $serve.verdicts | quote }}
- name: TEMPER_SERVE_ARMS
  value: {{ join "," $serve.arms | quote }}
- name: TEMPER_SERVE_UNSIGNED
  value: {{ ternary "1" "0" $serve.unsigned | quote }}
{{- end }}
{{- $webhooks := .root.Values.webhooks }}
{{- if and (has .component (list "api" "reconciler")) $webhooks.hosts }}
- name: TEMPER_WEBHOOK_HOSTS
  value: {{ join "," $webhooks.hosts | quote }}
- name: TEMPER_WEBHOOK_NETWORKS
  value: {{ join "," $webhooks.networks | quote }}
- name: TEMPER_WEBHOOK_KEY_FILE
  value: /etc/temper/secrets/webhook-key
{{- if or $webhooks.ca.secret $webhooks.ca.configMap }}
- name: TEMPER_WEBHOOK_CA_FILE
  value: /etc/temper/webhook-ca/ca.crt
{{- end }}
- name: TEMPER_PUBLIC_URL
  value: {{ $webhooks.publicUrl | quote }}
{{- end }}
{{- if eq .component "broker" }}
- name: TEMPER_BROKER_DIRECT
  value: {{ ternary "1" "0" .root.Values.broker.direct | quote }}
{{- end }}
{{- if and (eq .component "broker") .root.Values.broker.tls.existingSecret }}
- name: TEMPER_BROKER_TLS_CERT_FILE
  value: /etc/temper/tls/tls.crt
- name: TEMPER_BROKER_TLS_KEY_FILE
  value: /etc/temper/tls/tls.key
{{- end }}
{{ include "temper.storeEnvironment" .root }}
{{- end }}
{{- end }}

{{- define "temper.storeUri" -}}
{{- $store := .Values.objectStore -}}
s3://{{ $store.bucket }}{{ with trimAll "/" $store.prefix }}/{{ . }}{{ end }}
{{- end }}

{{- define "temper.databaseHost" -}}
{{- if .Values.database.development.enabled -}}
{{ include "temper.fullname" . }}-postgresql
{{- else -}}
{{ .Values.database.host }}
{{- end -}}
{{- end }}

{{- define "temper.databaseSecret" -}}
{{- if .Values.database.development.enabled -}}
{{ include "temper.fullname" . }}-postgresql
{{- else -}}
{{ .Values.database.existingSecret }}
{{- end -}}
{{- end }}

{{- define "temper.databaseEnvironment" -}}
{{- $database := .Values.database -}}
{{- if and $database.keys.url (not $database.development.enabled) -}}
- name: TEMPER_DATABASE_URL_FILE
  value: /etc/temper/secrets/database-url
{{- else -}}
- name: TEMPER_DATABASE_URL
  value: {{ printf "postgresql://%s@%s:%d/%s" $database.user (include "temper.databaseHost" .) (int $database.port) $database.name | quote }}
- name: TEMPER_DATABASE_PASSWORD_FILE
  value: /etc/temper/secrets/database-password
{{- end }}
- name: PGSSLMODE
  value: {{ ternary "disable" $database.sslMode $database.development.enabled }}
{{- if or $database.ca.secret $database.ca.configMap }}
- name: PGSSLROOTCERT
  value: /etc/temper/database-ca/ca.crt
{{- end }}
- name: TEMPER_DATABASE_POOL_SIZE
  value: {{ $database.poolSize | int | quote }}
{{- end }}

{{- define "temper.storeEnvironment" -}}
{{- $store := .Values.objectStore -}}
- name: AWS_REGION
  value: {{ $store.region | quote }}
- name: AWS_EC2_METADATA_DISABLED
  value: "true"
{{- with $store.endpoint }}
- name: AWS_ENDPOINT_URL_S3
  value: {{ . | quote }}
{{- end }}
{{- if $store.allowHttp }}
- name: TEMPER_S3_ALLOW_HTTP
  value: "1"
{{- end }}
{{- if or $store.ca.secret $store.ca.configMap }}
- name: AWS_CA_BUNDLE
  value: /etc/temper/store-ca/ca.crt
{{- end }}
- name: TEMPER_S3_ADDRESSING
  value: {{ $store.addressing }}
- name: TEMPER_S3_PART_BYTES
  value: {{ $store.partBytes | int64 | quote }}
- name: TEMPER_S3_CONCURRENCY
  value: {{ $store.concurrency | quote }}
- name: TEMPER_S3_CONNECT_TIMEOUT_S
  value: {{ $store.connectTimeoutSeconds | quote }}
- name: TEMPER_S3_READ_TIMEOUT_S
  value: {{ $store.readTimeoutSeconds | quote }}
{{- with $store.sse }}
- name: TEMPER_S3_SSE
  value: {{ . | quote }}
{{- end }}
{{- with $store.kmsKeyId }}
- name: TEMPER_S3_KMS_KEY_ID
  value: {{ . | quote }}
{{- end }}
{{- with $store.storageClass }}
- name: TEMPER_S3_STORAGE_CLASS
  value: {{ . | quote }}
{{- end }}
{{- with $store.bucketOwner }}
- name: TEMPER_S3_BUCKET_OWNER
  value: {{ . | quote }}
{{- end }}
{{- if $store.tags }}
- name: TEMPER_S3_TAGS
  value: "true"
{{- end }}
{{- if $store.existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ $store.existingSecret }}
      key: {{ $store.keys.accessKeyId }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $store.existingSecret }}
      key: {{ $store.keys.secretAccessKey }}
{{- if $store.keys.sessionToken }}
- name: AWS_SESSION_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ $store.existingSecret }}
      key: {{ $store.keys.sessionToken }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where the files above are mounted. */}}
{{- define "temper.mounts" -}}
- name: home
  mountPath: /var/lib/temper
- name: tmp
  mountPath: /tmp
- name: secrets
  mountPath: /etc/temper/secrets
  readOnly: true
{{- if ne .component "migrate" }}
- name: cluster
  mountPath: /etc/temper/cluster
  readOnly: true
{{- end }}
{{- $root := .root.Values }}
{{- if and (eq .component "broker") $root.broker.tls.existingSecret }}
- name: tls
  mountPath: /etc/temper/tls
  readOnly: true
{{- end }}
{{- if or $root.database.ca.secret $root.database.ca.configMap }}
- name: database-ca
  mountPath: /etc/temper/database-ca
  readOnly: true
{{- end }}
{{- if and (ne .component "migrate") (or $root.objectStore.ca.secret $root.objectStore.ca.configMap) }}
- name: store-ca
  mountPath: /etc/temper/store-ca
  readOnly: true
{{- end }}
{{- if and (has .component (list "api" "reconciler")) $root.webhooks.hosts (or $root.webhooks.ca.secret $root.webhooks.ca.configMap) }}
- name: webhook-ca
  mountPath: /etc/temper/webhook-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "temper.volumes" -}}
{{- $values := .root.Values -}}
- name: home
  emptyDir:
    sizeLimit: {{ ternary $values.scratch.home "64Mi" (has .component (list "api" "reconciler")) }}
- name: tmp
  emptyDir:
    sizeLimit: {{ ternary $values.scratch.tmp "1Gi" (has .component (list "api" "reconciler")) }}
- name: secrets
  projected:
    defaultMode: 0444
    sources:
      - secret:
          name: {{ include "temper.databaseSecret" .root }}
          items:
            {{- if and $values.database.keys.url (not $values.database.development.enabled) }}
            - key: {{ $values.database.keys.url }}
              path: database-url
            {{- else }}
            - key: {{ ternary "password" $values.database.keys.password $values.database.development.enabled }}
              path: database-password
            {{- end }}
      {{- if eq .component "api" }}
      - secret:
          name: {{ include "temper.apiKeySecret" .root }}
          items:
            - key: {{ include "temper.apiKeyKey" .root }}
              path: api-key
      {{- end }}
      {{- if eq .component "reconciler" }}
      - secret:
          name: {{ include "temper.signingSecret" .root }}
          items:
            - key: {{ include "temper.signingKey" .root }}
              path: signing-key.pem
            {{- with $values.signing.trustedKey }}
            - key: {{ . }}
              path: trusted-keys.pem
            {{- end }}
      {{- end }}
      {{- if and (has .component (list "api" "reconciler")) $values.webhooks.hosts }}
      - secret:
          name: {{ $values.webhooks.existingSecret }}
          items:
            - key: {{ $values.webhooks.key }}
              path: webhook-key
      {{- end }}
{{- if ne .component "migrate" }}
- name: cluster
  configMap:
    name: {{ include "temper.fullname" .root }}-cluster
{{- end }}
{{- if and (eq .component "broker") $values.broker.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ $values.broker.tls.existingSecret }}
    defaultMode: 0444
{{- end }}
{{ with include "temper.caVolume" (dict "name" "database-ca" "ca" $values.database.ca) }}{{ . }}{{ end }}
{{- if ne .component "migrate" }}
{{ with include "temper.caVolume" (dict "name" "store-ca" "ca" $values.objectStore.ca) }}{{ . }}{{ end }}
{{- end }}
{{- if and (has .component (list "api" "reconciler")) $values.webhooks.hosts }}
{{ with include "temper.caVolume" (dict "name" "webhook-ca" "ca" $values.webhooks.ca) }}{{ . }}{{ end }}
{{- end }}
{{- end }}

{{- define "temper.caVolume" -}}
{{- if .ca.secret -}}
- name: {{ .name }}
  secret:
    secretName: {{ .ca.secret }}
    items:
      - key: {{ .ca.key }}
        path: ca.crt
{{- else if .ca.configMap -}}
- name: {{ .name }}
  configMap:
    name: {{ .ca.configMap }}
    items:
      - key: {{ .ca.key }}
        path: ca.crt
{{- end -}}
{{- end }}

{{- define "temper.signingSecret" -}}
{{- .Values.signing.existingSecret | default (printf "%s-signing-key" (include "temper.fullname" .)) -}}
{{- end }}

{{- define "temper.signingKey" -}}
{{- ternary .Values.signing.key "signing-key.pem" (ne .Values.signing.existingSecret "") -}}
{{- end }}

{{- define "temper.apiKeySecret" -}}
{{- .Values.apiKey.existingSecret | default (printf "%s-api-key" (include "temper.fullname" .)) -}}
{{- end }}

{{- define "temper.apiKeyKey" -}}
{{- ternary .Values.apiKey.key "api-key" (ne .Values.apiKey.existingSecret "") -}}
{{- end }}
