// Command server is a Redis-compatible server that you can see through.
package main

import (
	"os"

	"github.com/redscope/redscope/cmd/internal/serve"
)

func main() {
	srv, stop := serve.Start(os.Args[1:])
	srv.Serve()
	stop()
}
