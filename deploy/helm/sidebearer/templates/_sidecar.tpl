{{/*
A native sidecar for the pods of another chart, which depends on this one with `gateway.enabled: false`:

    initContainers:
      {{- include "sidebearer.sidecar" (dict "image" "registry.example.com/sidebearer:0.1.0") | nindent 6 }}
    volumes:
      {{- include "sidebearer.volumes" (dict "configMap" "billing-sidebearer" "secret" "billing-sidebearer") | nindent 6 }}

The ConfigMap has the key sidebearer.toml; the keys of the Secret are files in /run/secrets/sidebearer.
*/}}
{{- define "sidebearer.sidecar" -}}
{{- range $key, $_ := . -}}
{{- if not (has $key (list "image" "imagePullPolicy" "healthPort" "resources")) -}}
{{- fail (printf "sidebearer.sidecar: %q is unknown; it takes image, imagePullPolicy, healthPort and resources" $key) -}}
{{- end -}}
{{- end -}}
- name: sidebearer
  image: {{ required "sidebearer.sidecar: `image` is required" .image }}
  {{- with .imagePullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  restartPolicy: Always
  args: ["run"]
  ports:
    - name: health
      containerPort: {{ .healthPort | default 7091 }}
  {{- include "sidebearer.probes" . | nindent 2 }}
  resources:
    {{- .resources | default (dict "requests" (dict "cpu" "20m" "memory" "32Mi") "limits" (dict "cpu" "1" "memory" "128Mi")) | toYaml | nindent 4 }}
  securityContext:
    {{- include "sidebearer.securityContext" . | nindent 4 }}
  volumeMounts:
    - name: sidebearer-config
      mountPath: /etc/sidebearer
      readOnly: true
    - name: sidebearer-secrets
      mountPath: /run/secrets/sidebearer
      readOnly: true
{{- end -}}

{{/* The volumes of "sidebearer.sidecar". Without an fsGroup a mode of 0440 would keep user 65532 out of the secret. */}}
{{- define "sidebearer.volumes" -}}
- name: sidebearer-config
  configMap:
    name: {{ required "sidebearer.volumes: `configMap` is required" .configMap }}
- name: sidebearer-secrets
  secret:
    secretName: {{ required "sidebearer.volumes: `secret` is required" .secret }}
    defaultMode: 0444
{{- end -}}
