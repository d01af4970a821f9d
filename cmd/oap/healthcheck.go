package main

import (
	"context"
	"time"

	"github.com/oap-runtime/oap/internal/client"
)

type healthcheckCmd struct {
	Server  string        `help:"URL of the server; by default the one that PORT names on this machine." placeholder:"URL"`
	Port    int           `hidden:"" env:"PORT" default:"8000"`
	Timeout time.Duration `help:"How long to wait for the answer." default:"2s"`
}

func (c *healthcheckCmd) Run(a *app) error {
	if c.Server == "" {
		c.Server = localURL("127.0.0.1", c.Port)
	}
	ctx, cancel := context.WithTimeout(a.ctx, c.Timeout)
	defer cancel()
	if err := (&client.Client{BaseURL: c.Server}).Health(ctx); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]bool{"ok": true})
	}
	a.stdout.printf("ok\n")
	return nil
}
