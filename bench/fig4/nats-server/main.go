// The NATS server as its makers' own main() runs it, built from the module that they publish.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	flags := flag.NewFlagSet("nats-server", flag.ExitOnError)
	none := func() {}
	options, err := server.ConfigureOptions(flags, os.Args[1:], server.PrintServerAndExit, none, none)
	if err != nil {
		fail(err)
	}
	nats, err := server.NewServer(options)
	if err != nil {
		fail(err)
	}
	if err := server.Run(nats); err != nil {
		fail(err)
	}
	nats.WaitForShutdown()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
