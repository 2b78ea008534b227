{{/* Names and labels of one part: (list $ "api"). */}}
{{- define "coterie.labels" -}}
{{- $root := index . 0 -}}
{{ include "coterie.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{- define "coterie.selector" -}}
app.kubernetes.io/name: coterie
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* A name that DNS takes, of an expert's name, which may have dots, underscores and capitals. */}}
{{- define "coterie.dns" -}}
{{- . | lower | replace "." "-" | replace "_" "-" | trunc 40 | trimAll "-" -}}
{{- end -}}

{{/* What holds for the containers that the project builds: user 10001, a read-only file system, no capabilities. */}}
{{- define "coterie.pod-security" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "coterie.container-security" -}}
securityContext:
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where a pod may run: a block of values with nodeSelector, tolerations and affinity. */}}
{{- define "coterie.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "coterie.database-url" -}}
- name: COTERIE_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "database.secret: name the secret that has PostgreSQL's URL" .Values.database.secret }}
      key: {{ .Values.database.key }}
{{- end -}}

{{/* The same for an expert's servers, and for one of them: (list $ "small"), (list $ "small" "small-2"). */}}
{{- define "coterie.expert-selector" -}}
{{ include "coterie.selector" (list (index . 0) "expert") }}
coterie/expert: {{ index . 1 | trunc 63 | trimAll "-_." | quote }}
{{- if gt (len .) 2 }}
coterie/server: {{ index . 2 | quote }}
{{- end }}
{{- end -}}

{{- define "coterie.expert-labels" -}}
{{ include "coterie.labels" (list (index . 0) "expert") }}
coterie/expert: {{ index . 1 | trunc 63 | trimAll "-_." | quote }}
{{- end -}}
