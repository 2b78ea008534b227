{{- define "coterie.egress-dns" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end -}}

{{- define "coterie.egress-database" -}}
- ports: [{port: {{ int .Values.database.port }}}]
  {{- with .Values.database.podSelector }}
  to:
    - podSelector:
        matchLabels: {{- toYaml . | nindent 10 }}
  {{- end }}
{{- end -}}

{{/* The ports of experts that the chart does not run. */}}
{{- define "coterie.egress-endpoints" -}}
{{- $ports := dict -}}
{{- range (include "coterie.experts" . | fromYaml).experts -}}
{{- if not .served -}}
{{- range .addresses -}}
{{- $_ := set $ports (toString .port) true -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $ports -}}
- ports:
  {{- range keys $ports | sortAlpha }}
    - {port: {{ . }}}
  {{- end }}
{{- end -}}
{{- end -}}
