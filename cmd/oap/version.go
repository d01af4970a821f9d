package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// version is set by the release build with -ldflags "-X main.version=v1.2.3".
var version string

// buildVersion returns the version of this binary and the revision it was
// built from, as far as they are known.
func buildVersion() (v, revision string) {
	v = version
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v, ""
	}
	if v == "" {
		v = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	if v == "" {
		v = "(devel)"
	}
	return v, revision
}

// userAgent names this program to the receivers of actions.
func userAgent() string {
	v, _ := buildVersion()
	return "oap/" + strings.Trim(v, "()")
}

type versionCmd struct{}

func (versionCmd) Run(a *app) error {
	v, revision := buildVersion()
	if a.json {
		return a.printJSON(map[string]string{
			"version": v, "revision": revision, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
		})
	}
	_, err := fmt.Fprintf(a.out(), "oap %s (%s, %s/%s)\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
