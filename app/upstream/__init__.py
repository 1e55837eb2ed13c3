"""The clients that speak HTTP to deployments: two adapters of one port, `app.domain.ports.Upstream`."""
