{{/* Names, labels and small decisions that several templates share. */}}

{{- define "amigo-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 50 characters, so that suffixes of the chart's own still fit into a label. */}}
{{- define "amigo-operator.fullname" -}}
{{- $name := include "amigo-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "amigo-operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "amigo-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "amigo-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "amigo-operator.leaseNamespace" -}}
{{- default (include "amigo-operator.namespace" .) .Values.leaderElection.namespace -}}
{{- end -}}

{{/* What never changes between versions: selectors cannot be changed. */}}
{{- define "amigo-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "amigo-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "amigo-operator.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_" | trunc 63)
  "app.kubernetes.io/part-of" "amigo"
  "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $own = merge (include "amigo-operator.selectorLabels" . | fromYaml) $own -}}
{{- toYaml (merge $own .Values.commonLabels) -}}
{{- end -}}

{{/* A digest says exactly which image it is, so that it wins over a tag. */}}
{{- define "amigo-operator.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry -}}
{{- $repository := ternary (printf "%s/%s" $registry .Values.image.repository) .Values.image.repository (ne $registry "") -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Whether an object of a kind that may not be installed is rendered: "true" or "". Takes the context, the API that must be
     there, the value's name and its renderMode. */}}
{{- define "amigo-operator.renders" -}}
{{- $is_there := .root.Capabilities.APIVersions.Has .api -}}
{{- if eq .mode "alwaysRender" -}}
true
{{- else if $is_there -}}
true
{{- else if eq .mode "failIfMissing" -}}
{{- fail (printf "%s: the cluster does not know %s: install its definition first, or set %s.renderMode to skipIfMissing." .value .api .value) -}}
{{- end -}}
{{- end -}}

{{/* The verbs on Secrets that a way of seeing their changes needs. */}}
{{- define "amigo-operator.secretVerbs" -}}
{{- if eq .Values.secrets.access "poll" -}}
["get"]
{{- else -}}
["get", "list", "watch"]
{{- end -}}
{{- end -}}

{{/* The default Organization as NAMESPACE/NAME, or nothing. */}}
{{- define "amigo-operator.defaultOrganization" -}}
{{- if .Values.defaultOrganization.create -}}
{{- printf "%s/%s" (include "amigo-operator.defaultOrganizationNamespace" .) .Values.defaultOrganization.name -}}
{{- else -}}
{{- .Values.defaultOrganization.reference -}}
{{- end -}}
{{- end -}}

{{- define "amigo-operator.defaultOrganizationNamespace" -}}
{{- default (include "amigo-operator.namespace" .) .Values.defaultOrganization.namespace -}}
{{- end -}}

{{/* The operator's command line. */}}
{{- define "amigo-operator.args" -}}
- run
- --listen={{ .Values.http.address }}:{{ .Values.http.port }}
{{- if .Values.metrics.secure.enabled }}
- --metrics-listen={{ .Values.http.address }}:{{ .Values.metrics.secure.port }}
{{- if .Values.metrics.secure.certificateSecret }}
- --metrics-cert-file=/etc/amigo-operator/metrics/tls.crt
- --metrics-key-file=/etc/amigo-operator/metrics/tls.key
{{- end }}
{{- end }}
{{- range .Values.namespaces }}
- --namespace={{ . }}
{{- end }}
{{- with .Values.ownerId }}
- {{ printf "--owner-id=%s" . | quote }}
{{- end }}
{{- with include "amigo-operator.defaultOrganization" . }}
- --default-organization={{ . }}
{{- end }}
{{- range .Values.allowedEndpoints }}
- {{ printf "--allowed-endpoint=%s" . | quote }}
{{- end }}
- --leader-elect={{ .Values.leaderElection.enabled }}
{{- if .Values.leaderElection.enabled }}
- --lease-namespace={{ include "amigo-operator.leaseNamespace" . }}
{{- if ne .Values.leaderElection.leaseName "amigo-operator" }}
- --lease-name={{ .Values.leaderElection.leaseName }}
{{- end }}
{{- end }}
- --secret-access={{ .Values.secrets.access }}
{{- if .Values.secrets.onlyLabelled }}
- --only-labelled-secrets=true
{{- end }}
{{- if eq .Values.secrets.access "poll" }}
- --secret-poll-seconds={{ int64 .Values.secrets.pollSeconds }}
{{- end }}
- --grace-period-seconds={{ int64 .Values.gracePeriodSeconds }}
- --log-format={{ .Values.logging.format }}
- {{ printf "--log-level=%s" .Values.logging.level | quote }}
{{- if .Values.ca.configMap }}
- --ca-file=/etc/amigo-operator/ca/{{ .Values.ca.key }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* How Prometheus asks for the metrics. Labels of the metrics stand: `namespace` is the object's. */}}
{{- define "amigo-operator.scrape" -}}
path: /metrics
honorLabels: true
{{- if .Values.metrics.secure.enabled }}
port: metrics
scheme: https
{{- else }}
port: http
{{- end }}
{{- end -}}

{{/* How Prometheus verifies the server of the metrics. */}}
{{- define "amigo-operator.scrapeTls" -}}
{{- if .Values.metrics.secure.certificateSecret -}}
serverName: {{ default (printf "%s.%s.svc" (include "amigo-operator.fullname" .) (include "amigo-operator.namespace" .)) .Values.metrics.secure.serverName }}
ca:
  secret:
    name: {{ .Values.metrics.secure.certificateSecret }}
    key: ca.crt
{{- else -}}
insecureSkipVerify: true
{{- end -}}
{{- end -}}

{{/* The kinds, for rules. */}}
{{- define "amigo-operator.crdNames" -}}
[organizations.amigo.ai, tools.amigo.ai, toolversions.amigo.ai, toolenvsecrets.amigo.ai]
{{- end -}}

{{/* What a role needs for the four kinds, wherever they are. */}}
{{- define "amigo-operator.kindRules" -}}
- apiGroups: [amigo.ai]
  resources: [organizations, tools, toolversions, toolenvsecrets]
  verbs: [get, list, watch, patch] # patch: the finalizer, and nothing else of a user's object
- apiGroups: [amigo.ai]
  resources: [organizations/status, tools/status, toolversions/status, toolenvsecrets/status]
  verbs: [update]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* The subject of all bindings. */}}
{{- define "amigo-operator.subject" -}}
- kind: ServiceAccount
  name: {{ include "amigo-operator.serviceAccountName" . }}
  namespace: {{ include "amigo-operator.namespace" . }}
{{- end -}}
