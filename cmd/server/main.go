// Command server is a Redis-compatible server that you can see through.
package main

import (
	"os"

	"github.com/redscope/redscope/cmd/internal/serve"
	"github.com/redscope/redscope/engine"
)

func main() {
	// Naming the type imports the engine, without which the compiler would not
	// inline Serve, and a frame would stand between aeMain and main.main.
	var srv *engine.Server
	srv, stop := serve.Start(os.Args[1:])
	srv.Serve()
	stop()
}
