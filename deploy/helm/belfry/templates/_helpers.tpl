{{- define "belfry.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "belfry.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "belfry.labels" -}}
{{ include "belfry.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "belfry.configSecret" -}}
{{ .Values.existingConfigSecret | default (printf "%s-config" (include "belfry.name" .)) }}
{{- end -}}

{{- define "belfry.clustered" -}}
{{- if or .Values.redis.url .Values.redis.existingSecret -}}true{{- end -}}
{{- end -}}

{{- /* The configuration: what the chart sets, over what config has. */ -}}
{{- define "belfry.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $server := dict "listen" ":8080" "drain_delay" (printf "%ds" (int .Values.drainDelay)) "shutdown_grace" (printf "%ds" (int .Values.shutdownGrace)) -}}
{{- $_ := set $config "server" (mergeOverwrite (deepCopy (default dict $config.server)) $server) -}}
{{- $_ := set $config "metrics" (mergeOverwrite (deepCopy (default dict $config.metrics)) (dict "listen" (printf ":%d" (int .Values.metrics.port)))) -}}
{{- if include "belfry.clustered" . -}}
{{- $_ := set $config "cluster" (dict "driver" "redis" "redis" (dict "url" "${REDIS_URL}" "prefix" .Values.redis.prefix)) -}}
{{- else -}}
{{- $_ := unset $config "cluster" -}}
{{- end -}}
{{- if not (hasKey $config "log") -}}
{{- $_ := set $config "log" (dict "format" "json") -}}
{{- end -}}
{{ toYaml $config }}
{{- end -}}
