// Command load asks an injector as API servers ask webhooks: with the same library, over TLS 1.3 and
// HTTP/1.1, on as many connections as are needed, of which 25 are kept, and with at most 200
// questions at a time.
//
//   - HTTP/1.1: pkg/util/webhook/client.go of k8s.io/apiserver sets NextProtos for Services
//   - 25: idleConnsPerHost in transport/cache.go of k8s.io/client-go
//   - 200: the default of --max-mutating-requests-inflight
//
// At a rate of 0 a new question is asked as soon as one is answered, on 25 connections; else questions
// are asked at fixed times, whether or not those before were answered. A latency then counts from the
// time when the question was due: what an injector that stood still would have kept waiting is not
// left out. It prints one line of JSON.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	keptConnections = 25
	maxInFlight     = 200
	// The injector's name in its certificate.
	serverName = "shimmy-injector"
)

// API servers run for weeks: their connections are open when a rush begins.
const warmUp = time.Second

type load struct {
	client     *http.Client
	url        string
	head, tail []byte
	opened     atomic.Int64
	asked      atomic.Int64

	mu        sync.Mutex
	latencies []time.Duration
}

type result struct {
	// Requests are all that were asked, those of the warm-up included; the rest is about the others.
	Requests    int64   `json:"requests"`
	PerSecond   float64 `json:"perSecond"`
	P50Ms       float64 `json:"p50Ms"`
	P99Ms       float64 `json:"p99Ms"`
	MaxMs       float64 `json:"maxMs"`
	Connections int64   `json:"connections"`
}

func newLoad(port, caPath, reviewPath, place string) (*load, error) {
	ca, err := os.ReadFile(caPath)
	if err != nil {
		return nil, err
	}
	review, err := os.ReadFile(reviewPath)
	if err != nil {
		return nil, err
	}
	head, tail, isFound := bytes.Cut(review, []byte(place))
	if !isFound {
		return nil, fmt.Errorf("%s: no %s", reviewPath, place)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s: no certificate", caPath)
	}
	l := &load{url: "https://127.0.0.1:" + port + "/pods?timeout=5s", head: head, tail: tail}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	l.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			l.opened.Add(1)
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: serverName, NextProtos: []string{"http/1.1"}},
		MaxIdleConnsPerHost: keptConnections,
		TLSHandshakeTimeout: 10 * time.Second,
	}}
	return l, nil
}

// ask asks once; due is when it should have been asked.
func (l *load) ask(due time.Time) error {
	uid := newUID()
	body := io.MultiReader(bytes.NewReader(l.head), bytes.NewReader(uid), bytes.NewReader(l.tail))
	request, err := http.NewRequest(http.MethodPost, l.url, body)
	if err != nil {
		return err
	}
	request.ContentLength = int64(len(l.head) + len(uid) + len(l.tail))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, */*")
	response, err := l.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	l.note(time.Since(due))
	if response.TLS.Version != tls.VersionTLS13 || response.ProtoMajor != 1 {
		return fmt.Errorf("asked over %s and %s", tls.VersionName(response.TLS.Version), response.Proto)
	}
	isInjected := bytes.Contains(answer, uid) && bytes.Contains(answer, []byte(`"patch"`))
	if response.StatusCode != http.StatusOK || !isInjected {
		return fmt.Errorf("not injected: %s %.300s", response.Status, answer)
	}
	return nil
}

func (l *load) note(latency time.Duration) {
	l.asked.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latencies = append(l.latencies, latency)
}

func (l *load) closedLoop(duration time.Duration) error {
	end := time.Now().Add(duration)
	errs := make(chan error, keptConnections)
	for range keptConnections {
		go func() {
			var err error
			for err == nil && time.Now().Before(end) {
				err = l.ask(time.Now())
			}
			errs <- err
		}()
	}
	var err error
	for range keptConnections {
		err = errors.Join(err, <-errs)
	}
	return err
}

func (l *load) openLoop(duration time.Duration, rate float64) error {
	count := int(rate * duration.Seconds())
	errs := make(chan error, count)
	places := make(chan struct{}, maxInFlight)
	begin := time.Now()
	for i := range count {
		due := begin.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		go func() {
			places <- struct{}{}
			errs <- l.ask(due)
			<-places
		}()
	}
	var err error
	for range count {
		err = errors.Join(err, <-errs)
	}
	return err
}

func (l *load) run(duration time.Duration, rate float64) (*result, error) {
	if err := l.closedLoop(warmUp); err != nil {
		return nil, err
	}
	l.latencies = nil
	opened, begin := l.opened.Load(), time.Now()
	var err error
	if rate == 0 {
		err = l.closedLoop(duration)
	} else {
		err = l.openLoop(duration, rate)
	}
	if err != nil {
		return nil, err
	}
	took := time.Since(begin).Seconds()
	slices.Sort(l.latencies)
	at := func(share float64) float64 {
		return float64(l.latencies[int(share*float64(len(l.latencies)-1))].Microseconds()) / 1000
	}
	return &result{
		Requests:    l.asked.Load(),
		PerSecond:   float64(len(l.latencies)) / took,
		P50Ms:       at(0.5),
		P99Ms:       at(0.99),
		MaxMs:       at(1),
		Connections: l.opened.Load() - opened,
	}, nil
}

// newUID makes a version 4 UUID.
func newUID() []byte {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Appendf(nil, "%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func main() {
	log.SetFlags(0)
	port := flag.String("port", "", "port of the injector on 127.0.0.1")
	ca := flag.String("ca", "", "file with the certificate that signed the injector's")
	review := flag.String("review", "", "file with the question")
	place := flag.String("place", "", "what stands in it in place of its UID")
	rate := flag.Float64("rate", 0, "questions a second; 0: as many as are answered")
	duration := flag.Duration("duration", time.Second, "for how long")
	flag.Parse()
	l, err := newLoad(*port, *ca, *review, *place)
	if err != nil {
		log.Fatalf("load: %v", err)
	}
	result, err := l.run(*duration, *rate)
	if err != nil {
		log.Fatalf("load: %v", err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatalf("load: %v", err)
	}
}
