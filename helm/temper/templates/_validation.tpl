{{/* What no schema can say: values that do not go together. Each message names its keys. */}}

{{- define "temper.validate" -}}
{{- $wrong := list -}}
{{- $database := .Values.database -}}
{{- if $database.development.enabled -}}
  {{- if or $database.host $database.existingSecret -}}
    {{- $wrong = append $wrong "database.development.enabled and database.host (or database.existingSecret) exclude each other" -}}
  {{- end -}}
{{- else -}}
  {{- if not $database.existingSecret -}}
    {{- $wrong = append $wrong "database.existingSecret: name the Secret that holds the password (or the URL) of your PostgreSQL; profiles/small.yaml makes a database for development" -}}
  {{- end -}}
  {{- if and (not $database.host) (not $database.keys.url) -}}
    {{- $wrong = append $wrong "database.host: name your PostgreSQL, or let database.keys.url name the Secret's key that holds its URL" -}}
  {{- end -}}
{{- end -}}
{{- if not .Values.objectStore.bucket -}}
  {{- $wrong = append $wrong "objectStore.bucket: name the S3 bucket that holds models, data sets and results" -}}
{{- end -}}
{{- if and .Values.signing.trustedKey (not .Values.signing.existingSecret) -}}
  {{- $wrong = append $wrong "signing.trustedKey: names a key of signing.existingSecret, which is empty" -}}
{{- end -}}
{{- if and .Values.webhooks.hosts (not .Values.webhooks.existingSecret) -}}
  {{- $wrong = append $wrong "webhooks.existingSecret: name the Secret that holds the key of webhooks, which webhooks.hosts turns on" -}}
{{- end -}}
{{- if eq (include "temper.jobsNamespace" .) (include "temper.endpointsNamespace" .) -}}
  {{- $wrong = append $wrong "jobs.namespace.name and endpoints.namespace.name must differ" -}}
{{- end -}}
{{- if has .Release.Namespace (list (include "temper.jobsNamespace" .) (include "temper.endpointsNamespace" .)) -}}
  {{- $wrong = append $wrong "jobs.namespace.name and endpoints.namespace.name: neither may be the namespace of the release, whose Secrets jobs must not reach" -}}
{{- end -}}
{{- range $area := list "jobs" "endpoints" -}}
  {{- range $label, $_ := (index $.Values $area).namespace.labels -}}
    {{- if hasPrefix "pod-security.kubernetes.io/" $label -}}
      {{- $wrong = append $wrong (printf "%s.namespace.labels: %s is the chart's to set, to restricted" $area $label) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if .Values.images.requireDigests -}}
  {{- range $name := include "temper.usedImages" . | fromJsonArray -}}
    {{- if not (index $.Values.images $name).digest -}}
      {{- $wrong = append $wrong (printf "images.%s.digest: images.requireDigests is set and this image has none" $name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if and (eq .Values.endpoints.autoscaler "keda") (not .Values.endpoints.prometheusUrl) -}}
  {{- $wrong = append $wrong "endpoints.prometheusUrl: KEDA asks it for waiting requests" -}}
{{- end -}}
{{- if and .Values.jobs.localQueue.create (not .Values.jobs.queue) -}}
  {{- $wrong = append $wrong "jobs.queue: name the LocalQueue that jobs.localQueue.create makes" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.allowAnyAddress) -}}
  {{- if and (not .Values.networkPolicy.database.to) (not $database.development.enabled) -}}
    {{- $wrong = append $wrong "networkPolicy.database.to: networkPolicy.allowAnyAddress is off, so say where the database is" -}}
  {{- end -}}
  {{- if and (not .Values.networkPolicy.objectStore.to) (not .Values.networkPolicy.objectStore.fqdns) -}}
    {{- $wrong = append $wrong "networkPolicy.objectStore.to: networkPolicy.allowAnyAddress is off, so say where S3 is (or objectStore.fqdns, where Cilium is the network)" -}}
  {{- end -}}
  {{- if and .Values.webhooks.hosts (not .Values.networkPolicy.webhooks.to) -}}
    {{- $wrong = append $wrong "networkPolicy.webhooks.to: networkPolicy.allowAnyAddress is off, so say where webhooks may be sent" -}}
  {{- end -}}
  {{- if not .Values.networkPolicy.kubernetesApi.to -}}
    {{- $wrong = append $wrong "networkPolicy.kubernetesApi.to: networkPolicy.allowAnyAddress is off, so say where the API server is" -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.broker.ca .Values.broker.caConfigMap -}}
  {{- $wrong = append $wrong "broker.ca and broker.caConfigMap exclude each other" -}}
{{- end -}}
{{- if and .Values.broker.tls.existingSecret (hasPrefix "http:" .Values.broker.url) -}}
  {{- $wrong = append $wrong "broker.url is http://, but broker.tls.existingSecret makes the broker speak TLS" -}}
{{- end -}}
{{- if and .Values.objectStore.kmsKeyId (not (hasPrefix "aws:kms" .Values.objectStore.sse)) -}}
  {{- $wrong = append $wrong "objectStore.kmsKeyId needs objectStore.sse: aws:kms" -}}
{{- end -}}
{{- $policy := .Values.networkPolicy -}}
{{- range $key, $peers := dict "database.to" $policy.database.to "objectStore.to" $policy.objectStore.to "kubernetesApi.to" $policy.kubernetesApi.to "dns.to" $policy.dns.to "webhooks.to" $policy.webhooks.to -}}
  {{- with include "temper.metadataPeers" (dict "peers" $peers "key" (printf "networkPolicy.%s" $key)) -}}
    {{- $wrong = append $wrong (trim .) -}}
  {{- end -}}
{{- end -}}
{{- range $key, $rules := dict "extraEgress" $policy.extraEgress "extraJobEgress" $policy.extraJobEgress "extraEndpointEgress" $policy.extraEndpointEgress -}}
  {{- range $index, $rule := $rules -}}
    {{- if not $rule.to -}}
      {{- $wrong = append $wrong (printf "networkPolicy.%s[%d].to: a rule without destinations allows all of them, 169.254.169.254 included" $key $index) -}}
    {{- end -}}
    {{- with include "temper.metadataPeers" (dict "peers" $rule.to "key" (printf "networkPolicy.%s[%d].to" $key $index)) -}}
      {{- $wrong = append $wrong (trim .) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
  {{- $wrong = append $wrong "ingress.hosts: name at least one" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
  {{- $wrong = append $wrong "httpRoute.parentRefs: name the Gateway" -}}
{{- end -}}
{{- if and .Values.jobs.localQueue.create (not .Values.jobs.localQueue.clusterQueue) -}}
  {{- $wrong = append $wrong "jobs.localQueue.clusterQueue: name the ClusterQueue" -}}
{{- end -}}
{{- if $wrong -}}
  {{- fail (printf "\n\nThese values cannot be installed:\n  - %s\n" (join "\n  - " $wrong)) -}}
{{- end -}}
{{- end }}

{{- define "temper.usedImages" -}}
{{- $used := list "api" "trainer" "vllm" -}}
{{- if .Values.database.development.enabled -}}{{- $used = append $used "postgresql" -}}{{- end -}}
{{- toJson $used -}}
{{- end }}
