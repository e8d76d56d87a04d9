{{/* Labels of everything; takes a list of the root and the component. */}}
{{- define "tracejob.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: tracejob
{{ include "tracejob.selector" . }}
{{- end }}

{{/* Labels by which pods are found. */}}
{{- define "tracejob.selector" -}}
app.kubernetes.io/name: tracejob
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The account of a caller, a SPIFFE ID; takes a list of the root and the component. */}}
{{- define "tracejob.account" -}}
spiffe://tracejob.dev/ns/{{ (index . 0).Release.Namespace }}/sa/tracejob-{{ index . 1 }}
{{- end }}

{{/* By which name of its certificate agents know a caller; takes the same. Certificates of yours have DNS names alone. */}}
{{- define "tracejob.caller" -}}
{{- if eq (index . 0).Values.tls.mode "existing" -}}
tracejob-{{ index . 1 }}
{{- else -}}
{{ include "tracejob.account" . }}
{{- end -}}
{{- end }}

{{/* An image; takes a list of the root and the name under `image`. */}}
{{- define "tracejob.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.image (index . 1) -}}
{{- with $root.Values.image.registry }}{{ . }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Annotations of what `helm test` makes: it stays where it failed, and is replaced by the next. */}}
{{- define "tracejob.hook" -}}
helm.sh/hook: test
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* The capabilities of the classes that agents allow, as a list. */}}
{{- define "tracejob.capabilities" -}}
{{- $classes := .Files.Get "files/classes.yaml" | fromYaml -}}
{{- $capabilities := list -}}
{{- range .Values.agent.policy.classes -}}
{{- $capabilities = concat $capabilities (get $classes .).capabilities | uniq -}}
{{- end -}}
{{- toJson $capabilities -}}
{{- end }}

{{/* The names of the tracers of some classes, as JSON; takes a list of the root and the classes. An empty list means every name in a
rule of RBAC: do not create a rule from it. */}}
{{- define "tracejob.tracers" -}}
{{- $classes := (index . 0).Files.Get "files/classes.yaml" | fromYaml -}}
{{- $tracers := list -}}
{{- range index . 1 -}}
{{- $tracers = concat $tracers (get $classes .).tracers | uniq -}}
{{- end -}}
{{- toJson (sortAlpha $tracers) -}}
{{- end }}
