{{- /* The image of everything; there is none by default, because Shimmy is in no registry. */ -}}
{{- define "shimmy.image" -}}
{{- required "image is required: --set image=REGISTRY/shimmy:TAG (docs/guides/install.md says how to build and push it)" .Values.image -}}
{{- end -}}

{{- /* Labels of every object; a test names those that Kustomize does not give. */ -}}
{{- define "shimmy.labels" -}}
app.kubernetes.io/name: shimmy
app.kubernetes.io/part-of: shimmy
app.kubernetes.io/version: {{ .Chart.AppVersion }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* The same with those by which a Prometheus or a Grafana finds them. */ -}}
{{- define "shimmy.monitoringLabels" -}}
{{ include "shimmy.labels" . }}
{{- with .Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Whether the API server knows what came with 1.30: admission policies, and sleep before the end. */ -}}
{{- define "shimmy.since130" -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version -}}yes{{- end -}}
{{- end -}}

{{- /* Whether the chart says who injector, master and sidecars run as. */ -}}
{{- define "shimmy.setsUser" -}}
{{- if and (not .Values.openshift) (not (kindIs "invalid" .Values.runAsUser)) -}}yes{{- end -}}
{{- end -}}
