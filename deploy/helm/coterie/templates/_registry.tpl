{{/*
The registry's experts that are no arms, as a list `experts` of name, model, context_length, whether the chart runs their
servers, and the addresses (host, port) of those: the endpoint's first, then the replicas'. Fails on what cannot work.

The registry itself goes into its ConfigMap as it came: Helm's YAML takes keys such as `n` for booleans, so a registry
that it wrote again would be another one.
*/}}
{{- define "coterie.experts" -}}
{{- $registry := fromYaml (required "registry: give the registry of experts, as in --set-file registry=experts/gpu.yaml" .Values.registry) -}}
{{- if hasKey $registry "Error" -}}
{{- fail (printf "registry: not YAML: %s" $registry.Error) -}}
{{- end -}}
{{- $experts := list -}}
{{- $hosts := dict -}}
{{- $unknown := deepCopy .Values.servers -}}
{{- range $registry.experts -}}
{{- if hasKey . "base" | not -}}
{{- if hasKey . "endpoint" | not -}}
{{- fail (printf "registry: %s has no endpoint; name one, as in http://%s:8000/v1" .name (include "coterie.dns" .name)) -}}
{{- end -}}
{{- $expert := . -}}
{{- $served := hasKey $.Values.servers .name -}}
{{- $addresses := list -}}
{{- range prepend (.replicas | default list) .endpoint -}}
{{- $url := urlParse . -}}
{{- $host := regexReplaceAll ":[0-9]+$" $url.host "" -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- if $served -}}
{{- if not (and (eq $url.scheme "http") (regexMatch "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$" $host)) -}}
{{- fail (printf "servers.%s: the registry calls it at %s; the chart's service needs an endpoint such as http://%s:8000/v1" $expert.name . (include "coterie.dns" $expert.name)) -}}
{{- end -}}
{{- if has $host (list "api" "console" "migrate") -}}
{{- fail (printf "servers.%s: %s is a name of the chart's own; call the expert's host otherwise" $expert.name $host) -}}
{{- end -}}
{{- if hasKey $hosts $host -}}
{{- fail (printf "servers: %s and %s are both called at %s; leave one of them out" (get $hosts $host) $expert.name .) -}}
{{- end -}}
{{- $_ := set $hosts $host $expert.name -}}
{{- end -}}
{{- $addresses = append $addresses (dict "host" $host "port" (int $port)) -}}
{{- end -}}
{{- $_ := unset $unknown .name -}}
{{- $experts = append $experts (dict "name" .name "model" .model "context_length" (int .context_length) "served" $served "addresses" $addresses) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := $unknown -}}
{{- fail (printf "servers.%s: the registry has no expert of this name, or it is an arm, which runs on its base's server" $name) -}}
{{- end -}}
{{ toYaml (dict "experts" $experts) }}
{{- end -}}

{{/* One server's values, the defaults of `vllm` included: (list $ "small"). */}}
{{- define "coterie.server" -}}
{{- $root := index . 0 -}}
{{- toYaml (mergeOverwrite (deepCopy $root.Values.vllm) (deepCopy (get $root.Values.servers (index . 1)))) -}}
{{- end -}}
