{{/* What a schema cannot say: the values and the configuration must agree. */}}
{{- define "sidebearer.checks" -}}
{{- $values := .Values -}}
{{- if and $values.config $values.existingConfigMap -}}
{{- fail "config and existingConfigMap: only one of the two can be the configuration" -}}
{{- end -}}
{{- if not (or $values.config $values.existingConfigMap) -}}
{{- fail "config: the text of sidebearer.toml is required (--set-file config=sidebearer.toml), or existingConfigMap" -}}
{{- end -}}
{{- if $values.config -}}
{{- $secret := "(?m)^[^#\n]*\\b(client_secret|private_key|client_assertion|assertion|subject_token|actor_token|dpop_key|proxy_authorization|key)\\s*=\\s*[\"']" -}}
{{- with regexFind $secret $values.config -}}
{{- fail (printf "config: a secret stands in the file itself, after `%s`; a ConfigMap is no place for it: write { file = \"/run/secrets/NAME/KEY\" }, with NAME in secrets" (trimAll " \"'" .)) -}}
{{- end -}}
{{- range $values.ports -}}
{{- if not (contains (printf ":%d\"" (int .port)) $values.config) -}}
{{- fail (printf "ports: no address in config ends with :%d, the port of %s" (int .port) .name) -}}
{{- end -}}
{{- end -}}
{{- if not (contains (printf ":%d\"" (int $values.healthPort)) $values.config) -}}
{{- fail (printf "healthPort: no address in config ends with :%d; probes and metrics need [health] with address = \"0.0.0.0:%d\"" (int $values.healthPort) (int $values.healthPort)) -}}
{{- end -}}
{{- range regexFindAll "/run/secrets/[^/\"]+/" $values.config -1 -}}
{{- $name := . | trimPrefix "/run/secrets/" | trimSuffix "/" -}}
{{- if not (hasKey $values.secrets $name) -}}
{{- fail (printf "secrets: config names a file in /run/secrets/%s, but secrets has no %s" $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and (regexMatch "(?m)^\\s*\\[kubernetes\\]" $values.config) (not $values.serviceAccount.token) -}}
{{- fail "serviceAccount.token: config has [kubernetes], which needs it to be true" -}}
{{- end -}}
{{- if and (regexMatch "(?m)^\\s*review\\s*=\\s*true" $values.config) (not $values.serviceAccount.review) -}}
{{- fail "serviceAccount.review: config has review = true, which needs it to be true" -}}
{{- end -}}
{{- end -}}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) -}}
{{- fail (printf "autoscaling: minReplicas is %d, more than maxReplicas, which is %d" (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}
