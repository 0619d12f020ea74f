{{- define "creel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* At most 50 characters, so that `-migrate` and the like still fit into 63. */}}
{{- define "creel.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "creel.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "creel.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "creel.selectorLabels" -}}
app.kubernetes.io/name: {{ include "creel.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "creel.nodeLabels" -}}
{{ include "creel.selectorLabels" . }}
app.kubernetes.io/component: node
{{- end }}

{{- define "creel.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "creel.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "creel.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "creel.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "creel.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "creel.secretName" -}}
{{- default (include "creel.fullname" .) .Values.existingSecret.name }}
{{- end }}

{{/* The port that answers everything but capture. */}}
{{- define "creel.apiPort" -}}
{{- ternary "api" "http" .Values.apiListener.enabled }}
{{- end }}

{{- define "creel.apiServiceName" -}}
{{- include "creel.fullname" . }}{{ if .Values.apiListener.enabled }}-api{{ end }}
{{- end }}

{{- define "creel.apiServicePort" -}}
{{- ternary .Values.apiListener.service.port .Values.service.port .Values.apiListener.enabled }}
{{- end }}

{{/* Numbers come from YAML as floats, which would print as 1.048576e+07. */}}
{{- define "creel.settingValue" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else if kindIs "slice" . }}{{ join "," . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* A map of settings as lines `CREEL_SECTION__KEY: "value"`. Takes a prefix and a map. */}}
{{- define "creel.settingLines" -}}
{{- $prefix := .prefix }}
{{- range $key, $value := .map }}
{{- $name := printf "%s__%s" $prefix (upper $key) }}
{{- if kindIs "map" $value }}
{{- include "creel.settingLines" (dict "prefix" $name "map" $value) }}
{{- else if not (kindIs "invalid" $value) }}
{{ $name }}: {{ include "creel.settingValue" $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "creel.settings" -}}
CREEL_SERVER__LISTEN: "0.0.0.0:9669"
{{- if .Values.apiListener.enabled }}
CREEL_SERVER__API_LISTEN: "0.0.0.0:{{ int64 .Values.apiListener.port }}"
{{- end }}
CREEL_SERVER__DRAIN_MS: "{{ mul (int64 .Values.shutdown.drainSeconds) 1000 }}"
CREEL_SERVER__SHUTDOWN_TIMEOUT_MS: "{{ mul (int64 .Values.shutdown.timeoutSeconds) 1000 }}"
CREEL_DATABASE__MIGRATE: {{ ternary "auto" "off" (eq .Values.migration.mode "startup") | quote }}
CREEL_AUTH__MODE: {{ .Values.auth.mode | quote }}
{{- range $section, $map := .Values.settings }}
{{- include "creel.settingLines" (dict "prefix" (printf "CREEL_%s" (upper $section)) "map" $map) }}
{{- end }}
{{- end }}

{{- define "creel.databaseUrlEnv" -}}
- name: CREEL_DATABASE__URL
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end }}

{{/* What the schema cannot say clearly enough. */}}
{{- define "creel.validate" -}}
{{- $url := .Values.database.url }}
{{- $broker := .Values.broker.url }}
{{- if .Values.existingSecret.name }}
{{- if or $url $broker .Values.auth.tokens }}
{{- fail "existingSecret.name is set: leave database.url, broker.url and auth.tokens empty, they are taken from that Secret" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (eq .Values.auth.mode "tokens") (not .Values.serviceMonitor.tokenSecret.name) }}
{{- fail "serviceMonitor wants serviceMonitor.tokenSecret.name and .key together with existingSecret: a Secret with one single token" }}
{{- end }}
{{- else }}
{{- if not $url }}
{{- fail "database.url is missing: give the URL of a Postgres database, postgres://USER:PASSWORD@HOST:5432/NAME, or name a Secret that holds it in existingSecret.name" }}
{{- end }}
{{- if hasPrefix "sqlite:" $url }}
{{- fail "database.url names SQLite: a SQLite file belongs to one process on one machine, while this chart runs several nodes without a disk. Give the URL of a Postgres database" }}
{{- end }}
{{- if not (regexMatch "^postgres(ql)?://[^/]" $url) }}
{{- fail "database.url must begin with postgres://" }}
{{- end }}
{{- if not $broker }}
{{- fail "broker.url is missing: give the URL of RabbitMQ (amqp://, amqps://) or Redis (redis://, rediss://), or name a Secret that holds it in existingSecret.name" }}
{{- end }}
{{- if eq $broker "local" }}
{{- fail "broker.url is local: that reaches one node only, while this chart runs several. Give the URL of RabbitMQ or Redis" }}
{{- end }}
{{- if not (regexMatch "^(amqps?|rediss?)://[^/]" $broker) }}
{{- fail "broker.url must begin with amqp://, amqps://, redis:// or rediss://" }}
{{- end }}
{{- if and (eq .Values.auth.mode "tokens") (not .Values.auth.tokens) }}
{{- fail "auth.tokens is empty: give at least one token of 16 characters or more, or name a Secret in existingSecret.name, or set auth.mode to none to let anybody read and remove" }}
{{- end }}
{{- end }}
{{- if and .Values.apiIngress.enabled (not .Values.apiListener.enabled) }}
{{- fail "apiIngress.enabled wants apiListener.enabled: without it the API is served by ingress" }}
{{- end }}
{{- if and .Values.apiListener.enabled (eq (int64 .Values.apiListener.port) 9669) }}
{{- fail "apiListener.port is 9669, which is capture's own port" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (lt (int64 .Values.autoscaling.maxReplicas) (int64 .Values.autoscaling.minReplicas)) }}
{{- fail "autoscaling.maxReplicas is below autoscaling.minReplicas" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (not .Values.autoscaling.targetCPUUtilizationPercentage) (not .Values.autoscaling.targetMemoryUtilizationPercentage) }}
{{- fail "autoscaling wants a target for CPU or memory" }}
{{- end }}
{{- $pdb := .Values.podDisruptionBudget }}
{{- if and $pdb.enabled (eq (kindIs "invalid" $pdb.maxUnavailable) (kindIs "invalid" $pdb.minAvailable)) }}
{{- fail "podDisruptionBudget wants either maxUnavailable or minAvailable; set the other to null" }}
{{- end }}
{{- range $kind, $ingress := dict "ingress" .Values.ingress "apiIngress" .Values.apiIngress }}
{{- if and $ingress.enabled (not $ingress.hosts) }}
{{- fail (printf "%s.hosts is empty" $kind) }}
{{- end }}
{{- end }}
{{- end }}
