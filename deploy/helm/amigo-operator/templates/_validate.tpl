{{/* Combinations of values that cannot work, each refused with a sentence that says what to change. What one value alone must
     look like stands in values.schema.json. */}}

{{- define "amigo-operator.validate" -}}
{{- include "amigo-operator.validateReplicas" . -}}
{{- include "amigo-operator.validateSecrets" . -}}
{{- include "amigo-operator.validateDefaultOrganization" . -}}
{{- include "amigo-operator.validatePod" . -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor and podMonitor are both enabled, and every sample would be taken twice: enable one of them." -}}
{{- end -}}
{{- if and .Values.podMonitor.enabled .Values.metrics.secure.enabled -}}
{{- fail "podMonitor.enabled does not go with metrics.secure.enabled: a PodMonitor cannot bring Prometheus' own token; enable serviceMonitor instead." -}}
{{- end -}}
{{- if and .Values.metrics.secure.certificateSecret (not .Values.metrics.secure.enabled) -}}
{{- fail "metrics.secure.certificateSecret has no effect without metrics.secure.enabled: enable it, or remove the Secret." -}}
{{- end -}}
{{- if and .Values.metrics.secure.enabled (eq (int .Values.metrics.secure.port) (int .Values.http.port)) -}}
{{- fail (printf "metrics.secure.port and http.port are both %d: health stays in the clear on a port of its own." (int .Values.http.port)) -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.service.enabled) -}}
{{- fail "serviceMonitor.enabled needs service.enabled: a ServiceMonitor finds Pods by their Service." -}}
{{- end -}}
{{- end -}}

{{- define "amigo-operator.validateReplicas" -}}
{{- $replicas := int .Values.replicaCount -}}
{{- if and (gt $replicas 1) (not .Values.leaderElection.enabled) -}}
{{- fail "replicaCount is greater than 1 without leaderElection.enabled: several operators would work on the same objects at once." -}}
{{- end -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int .Values.gracePeriodSeconds) -}}
{{- fail (printf "terminationGracePeriodSeconds (%d) must be greater than gracePeriodSeconds (%d): the Pod would be killed while it still waits for publishes." (int .Values.terminationGracePeriodSeconds) (int .Values.gracePeriodSeconds)) -}}
{{- end -}}
{{- if and .Values.podDisruptionBudget.enabled (gt $replicas 1) -}}
{{- $least := .Values.podDisruptionBudget.minAvailable -}}
{{- $most := .Values.podDisruptionBudget.maxUnavailable -}}
{{- if and (not (kindIs "invalid" $least)) (not (kindIs "invalid" $most)) -}}
{{- fail "podDisruptionBudget has both minAvailable and maxUnavailable: Kubernetes takes one of them." -}}
{{- end -}}
{{- if or (eq (toString $least) "100%") (and (not (kindIs "invalid" $least)) (not (kindIs "string" $least)) (ge (int $least) $replicas)) -}}
{{- fail (printf "podDisruptionBudget.minAvailable (%v) leaves no Pod of %d to evict: nodes could not be drained." $least $replicas) -}}
{{- end -}}
{{- if or (eq (toString $most) "0") (eq (toString $most) "0%") -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable (%v) lets no Pod be evicted: nodes could not be drained." $most) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "amigo-operator.validateSecrets" -}}
{{- $names := .Values.secrets.names -}}
{{- if and (eq .Values.secrets.access "watch") $names -}}
{{- fail "secrets.names has no effect with secrets.access=watch, which reads all Secrets: choose named or poll, or remove the names." -}}
{{- end -}}
{{- if and (eq .Values.secrets.access "named") (not $names) .Values.rbac.create .Values.rbac.secrets -}}
{{- fail "secrets.access=named needs secrets.names: without names the operator could read no Secret at all." -}}
{{- end -}}
{{- if .Values.namespaces -}}
{{- range $namespace, $_ := $names -}}
{{- if not (has $namespace $.Values.namespaces) -}}
{{- fail (printf "secrets.names has the namespace %s, which is not in namespaces: the operator does not work there." $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "amigo-operator.validateDefaultOrganization" -}}
{{- $default := .Values.defaultOrganization -}}
{{- if and $default.create $default.reference -}}
{{- fail "defaultOrganization has both reference and create: the default is one that exists, or one that the chart makes." -}}
{{- end -}}
{{- if and $default.create (not (and $default.spec.organization (dig "credentialsRef" "name" "" $default.spec))) -}}
{{- fail "defaultOrganization.create needs defaultOrganization.spec.organization and defaultOrganization.spec.credentialsRef.name." -}}
{{- end -}}
{{- with include "amigo-operator.defaultOrganization" . -}}
{{- $namespace := splitList "/" . | first -}}
{{- if and $.Values.namespaces (not (has $namespace $.Values.namespaces)) -}}
{{- fail (printf "the default Organization %s is in a namespace that is not in namespaces: the operator does not see it." .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "amigo-operator.validatePod" -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.create=false needs serviceAccount.name: the permissions would go to the ServiceAccount default, and so to every Pod." -}}
{{- end -}}
{{- $own := list "--listen" "--namespace" "--owner-id" "--default-organization" "--allowed-endpoint" "--leader-elect" "--lease-namespace" "--lease-name" "--secret-access" "--secret-poll-seconds" "--grace-period-seconds" "--log-format" "--log-level" "--ca-file" -}}
{{- range .Values.extraArgs -}}
{{- $flag := splitList "=" . | first -}}
{{- if has $flag $own -}}
{{- fail (printf "extraArgs has %s, which a value of this chart sets: use that value." $flag) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if eq .name "POD_NAME" -}}
{{- fail "extraEnv has POD_NAME, which the chart sets: it names the holder of the Lease." -}}
{{- end -}}
{{- end -}}
{{- end -}}
