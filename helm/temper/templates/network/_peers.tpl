{{/* Peers and ports of NetworkPolicies. Rules are written one under the other as list items. */}}

{{/* Any address but those at which clouds hand out credentials to whoever asks: link-local ones, and the metadata
     services of Alibaba and Azure. */}}
{{- define "temper.anyAddress" -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except: [169.254.0.0/16, 100.100.100.200/32, 168.63.129.16/32]
- ipBlock:
    cidr: "::/0"
    except: ["fe80::/10", "fd00:ec2::254/128"]
{{- end }}

{{/* Pods of this release in its own namespace: (dict "root" $ "component" "api"). */}}
{{- define "temper.ownPods" -}}
- podSelector:
    matchLabels:
      {{- include "temper.selector" . | nindent 6 }}
{{- end }}

{{/* Pods that the reconciler made: (dict "root" $ "namespace" "ml-jobs" "components" (list "job" "scan")). */}}
{{- define "temper.madePods" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .namespace }}
  podSelector:
    {{- include "temper.madePodSelector" . | nindent 4 }}
{{- end }}

{{- define "temper.madePodSelector" -}}
matchLabels:
  {{- include "temper.releaseLabels" .root | nindent 2 }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: {{ toJson .components }}
{{- end }}

{{/* Pods of this release as other namespaces see them. */}}
{{- define "temper.releasePods" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .root.Release.Namespace }}
  podSelector:
    matchLabels:
      {{- include "temper.selector" . | nindent 6 }}
{{- end }}

{{- define "temper.port" -}}
- port: {{ . }}
  protocol: TCP
{{- end }}

{{/* Egress rules. */}}

{{- define "temper.toDns" -}}
- to:
    {{- toYaml .Values.networkPolicy.dns.to | nindent 4 }}
  ports:
    {{- range $port := .Values.networkPolicy.dns.ports }}
    {{- range $protocol := list "UDP" "TCP" }}
    - port: {{ $port }}
      protocol: {{ $protocol }}
    {{- end }}
    {{- end }}
{{- end }}

{{- define "temper.toDatabase" -}}
- to:
    {{- if .Values.database.development.enabled }}
    {{- include "temper.ownPods" (dict "root" . "component" "postgresql") | nindent 4 }}
    {{- else if .Values.networkPolicy.database.to }}
    {{- toYaml .Values.networkPolicy.database.to | nindent 4 }}
    {{- else }}
    {{- include "temper.anyAddress" . | nindent 4 }}
    {{- end }}
  ports:
    {{- include "temper.port" .Values.database.port | nindent 4 }}
{{- end }}

{{/* Nothing where host names say where S3 is: those are a CiliumNetworkPolicy's. */}}
{{- define "temper.toStore" -}}
{{- if not .Values.networkPolicy.objectStore.fqdns -}}
- to:
    {{- if .Values.networkPolicy.objectStore.to }}
    {{- toYaml .Values.networkPolicy.objectStore.to | nindent 4 }}
    {{- else }}
    {{- include "temper.anyAddress" . | nindent 4 }}
    {{- end }}
  ports:
    {{- include "temper.port" (include "temper.storePort" .) | nindent 4 }}
{{- end -}}
{{- end }}

{{- define "temper.storePort" -}}
{{- $url := urlParse (.Values.objectStore.endpoint | default "https://s3") -}}
{{- if .Values.networkPolicy.objectStore.port -}}
{{- .Values.networkPolicy.objectStore.port -}}
{{- else if regexMatch ":[0-9]+$" $url.host -}}
{{- regexFind "[0-9]+$" $url.host -}}
{{- else -}}
{{- ternary 80 443 (eq $url.scheme "http") -}}
{{- end -}}
{{- end }}

{{- define "temper.toKubernetesApi" -}}
- to:
    {{- if .Values.networkPolicy.kubernetesApi.to }}
    {{- toYaml .Values.networkPolicy.kubernetesApi.to | nindent 4 }}
    {{- else }}
    {{- include "temper.anyAddress" . | nindent 4 }}
    {{- end }}
  ports:
    {{- range .Values.networkPolicy.kubernetesApi.ports }}
    {{- include "temper.port" . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "temper.toWebhooks" -}}
- to:
    {{- if .Values.networkPolicy.webhooks.to }}
    {{- toYaml .Values.networkPolicy.webhooks.to | nindent 4 }}
    {{- else }}
    {{- include "temper.anyAddress" . | nindent 4 }}
    {{- end }}
  ports:
    {{- range .Values.networkPolicy.webhooks.ports }}
    {{- include "temper.port" . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "temper.toBroker" -}}
- to:
    {{- include "temper.releasePods" (dict "root" . "component" "broker") | nindent 4 }}
  ports:
    {{- include "temper.port" 8002 | nindent 4 }}
{{- end }}

{{/* Ingress rule of whoever reads metrics: (dict "root" $ "port" 8000). Nothing when nobody does. */}}
{{- define "temper.fromMetrics" -}}
{{- with .root.Values.networkPolicy.metrics.from -}}
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    {{- include "temper.port" $.port | nindent 4 }}
{{- end -}}
{{- end }}

{{/* Refuses a block of addresses that holds 169.254.169.254: (dict "peers" (list) "key" "networkPolicy.x.to").
     Compares the first two octets as one number; of longer prefixes within 169.254.0.0/16 the third as well. */}}
{{- define "temper.metadataPeers" -}}
{{- range $index, $peer := .peers -}}
{{- with $peer.ipBlock -}}
{{- $except := join "," .except -}}
{{- if not (contains ":" .cidr) -}}
{{- $octets := splitList "." (first (splitList "/" .cidr)) -}}
{{- $bits := last (splitList "/" .cidr) | int -}}
{{- $number := add (mul (index $octets 0 | int) 256) (index $octets 1 | int) -}}
{{- $shift := 1 -}}
{{- range until (max 0 (sub 16 $bits) | int) -}}{{- $shift = mul $shift 2 -}}{{- end -}}
{{- $holds := eq (div $number $shift) (div 43518 $shift) -}}
{{- if and $holds (ge $bits 24) (ne (index $octets 2) "169") -}}{{- $holds = false -}}{{- end -}}
{{- if and $holds (not (regexMatch "(^|,)169\\.254\\.(0\\.0/16|169\\.254/32)(,|$)" $except)) -}}
{{- printf "%s[%d].ipBlock holds 169.254.169.254, where clouds hand out credentials: add 169.254.0.0/16 to its except\n" $.key $index -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
