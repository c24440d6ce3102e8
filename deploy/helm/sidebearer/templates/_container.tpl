{{/* What the container of the gateway and the one of a sidecar have in common. The input is the port of `[health]`. */}}
{{- define "sidebearer.probes" -}}
startupProbe:
  httpGet:
    path: /startupz
    port: health
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 120
readinessProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 5
  timeoutSeconds: 2
livenessProbe:
  httpGet:
    path: /livez
    port: health
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{/* On the container, none of it on the pod: it fits the level "restricted" beside whatever service. */}}
{{- define "sidebearer.securityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
seccompProfile:
  type: RuntimeDefault
{{- end -}}
