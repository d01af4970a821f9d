package server

import (
	"embed"
	"net/http"

	"github.com/gin-gonic/gin"
)

//go:embed docs/index.html docs/docs.js docs/docs.css
var docsFiles embed.FS

// docsPolicy allows the page its own script and style, and requests to this
// server; nothing inline, nothing from elsewhere.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// routeDocs serves the page that shows the OpenAPI document. It is not part of
// the API, and so not in the document.
func (s *Server) routeDocs() {
	for path, file := range map[string]struct{ name, contentType string }{
		"/docs":          {"docs/index.html", "text/html; charset=utf-8"},
		"/docs/docs.js":  {"docs/docs.js", "text/javascript; charset=utf-8"},
		"/docs/docs.css": {"docs/docs.css", "text/css; charset=utf-8"},
	} {
		content, err := docsFiles.ReadFile(file.name)
		if err != nil {
			panic("server: " + err.Error())
		}
		s.engine.GET(path, func(c *gin.Context) {
			c.Header("Content-Security-Policy", docsPolicy)
			c.Header("Cache-Control", "no-cache")
			c.Data(http.StatusOK, file.contentType, content)
		})
	}
}
