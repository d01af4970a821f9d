package main

import (
	"github.com/oap-runtime/oap/internal/client"
)

// targetFlags say which server's sessions a command is about.
type targetFlags struct {
	Server string `help:"URL of the server." env:"OAP_SERVER" default:"http://127.0.0.1:8000" placeholder:"URL" group:"server"`
	APIKey string `name:"api-key" help:"Key for the server." env:"OAP_API_KEY" placeholder:"KEY" group:"server"`
}

// open returns a client for the target, and a function that ends it.
func (f targetFlags) open(*app) (*client.Client, func(), error) {
	return &client.Client{BaseURL: f.Server, Key: f.APIKey}, func() {}, nil
}
