//go:build programs

// Package tools names etcd and Helm. They are apart from Kubernetes because each of them wants other versions of the same modules.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "helm.sh/helm/v4/cmd/helm"
)
