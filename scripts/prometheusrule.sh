#!/usr/bin/env bash
# Writes the alerts as a resource of the Prometheus operator, and copies them into the Helm chart.
set -euo pipefail
cd "$(dirname "$0")/../deploy"

{
  cat <<'EOF'
# Written by scripts/prometheusrule.sh from deploy/monitoring/alerts.yaml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: invalidator
  labels:
    app.kubernetes.io/name: invalidator
spec:
EOF
  sed -n '/^groups:/,$ s/^\(.\)/  \1/p; /^groups:/,$ { /^$/p }' monitoring/alerts.yaml
} >kubernetes/monitoring/prometheusrule.yaml
cp monitoring/alerts.yaml helm/invalidator/files/alerts.yaml
