package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// servicesFlags belong to "oap demo services", which starts only what a server
// under test needs around it. They are hidden, because a newcomer has no use
// for them; examples/README.md describes them.
type servicesFlags struct {
	PortFile string        `hidden:"" help:"Write the addresses and tokens to this file, as JSON and in one piece, once everything listens." placeholder:"FILE"`
	Play     string        `hidden:"" enum:"meetbot,report,triage,approval" default:"meetbot" help:"Whose script the model plays."`
	Latency  time.Duration `hidden:"" help:"Let every request to a service take so much longer."`
}

// runServices starts only the services and the scripted model and serves until it is
// interrupted.
func (f servicesFlags) runServices(a *app) error {
	if f.PortFile == "" {
		return usageError("demo services needs --port-file FILE, to say where everything listens")
	}
	x, err := loadExample(f.Play, false)
	if err != nil {
		return err
	}
	world, err := startWorld(a.ctx, x.script)
	if err != nil {
		return err
	}
	defer world.close()
	if err := world.delay(f.Latency); err != nil {
		return err
	}
	data, err := json.MarshalIndent(world.addresses(), "", "  ")
	if err != nil {
		return err
	}
	if err := writeWhole(f.PortFile, append(data, '\n')); err != nil {
		return err
	}
	a.stderr.printf("serving the world of %s; its addresses and tokens are in %s\n", x.name, f.PortFile)
	return together(a.ctx, world.serve)
}

// writeWhole writes a private file so that a reader sees all of it or nothing.
func writeWhole(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".oap-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
