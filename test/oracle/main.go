// Command oracle says what another implementation of NetworkPolicies thinks of connections between
// pods: cyclonus' matcher, which its authors use to test networks of clusters, with selectors as
// Kubernetes' own library evaluates them (cyclonus takes NotIn not to hold for a key that is not
// there).
//
// It reads a JSON array of questions from standard input, and writes one of booleans.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

type pod struct {
	Namespace       string            `json:"namespace"`
	NamespaceLabels map[string]string `json:"namespaceLabels"`
	Labels          map[string]string `json:"labels"`
	Address         string            `json:"address"`
}

type question struct {
	Policies []*networkingv1.NetworkPolicy `json:"policies"`
	Client   pod                           `json:"client"`
	Server   pod                           `json:"server"`
	Port     int                           `json:"port"`
	PortName string                        `json:"portName"`
	settled  int
}

// settle replaces a selector by one for a label that exactly those get that it selects.
func (q *question) settle(selector *metav1.LabelSelector, sets ...map[string]string) {
	if selector == nil || len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		return
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		log.Fatalf("oracle: bad selector: %v", err)
	}
	q.settled++
	label := fmt.Sprintf("selected-%d", q.settled)
	for _, set := range sets {
		if parsed.Matches(labels.Set(set)) {
			set[label] = "yes"
		}
	}
	*selector = metav1.LabelSelector{MatchLabels: map[string]string{label: "yes"}}
}

func (q *question) settlePeers(peers []networkingv1.NetworkPolicyPeer) {
	for _, peer := range peers {
		q.settle(peer.PodSelector, q.Client.Labels, q.Server.Labels)
		q.settle(peer.NamespaceSelector, q.Client.NamespaceLabels, q.Server.NamespaceLabels)
	}
}

func (q *question) settleAll() {
	for _, policy := range q.Policies {
		q.settle(&policy.Spec.PodSelector, q.Client.Labels, q.Server.Labels)
		for _, rule := range policy.Spec.Ingress {
			q.settlePeers(rule.From)
		}
		for _, rule := range policy.Spec.Egress {
			q.settlePeers(rule.To)
		}
	}
}

func (p pod) peer() *matcher.TrafficPeer {
	return &matcher.TrafficPeer{
		IP: p.Address,
		Internal: &matcher.InternalPeer{
			Namespace:       p.Namespace,
			NamespaceLabels: p.NamespaceLabels,
			PodLabels:       p.Labels,
		},
	}
}

func main() {
	log.SetFlags(0)
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		log.Fatalf("oracle: cannot read questions: %v", err)
	}
	answers := make([]bool, len(questions))
	for i := range questions {
		q := &questions[i]
		q.settleAll()
		answers[i] = matcher.BuildNetworkPolicies(false, q.Policies).IsTrafficAllowed(&matcher.Traffic{
			Source:           q.Client.peer(),
			Destination:      q.Server.peer(),
			ResolvedPort:     q.Port,
			ResolvedPortName: q.PortName,
			Protocol:         v1.ProtocolTCP,
		}).IsAllowed()
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatalf("oracle: cannot write answers: %v", err)
	}
}
