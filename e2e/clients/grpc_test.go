package clients

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// authorization is the Authorization header of all calls of a gRPC client.
type authorization string

func (a authorization) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": string(a)}, nil
}

func (authorization) RequireTransportSecurity() bool { return false }

// TestGRPC: clients of grpc-go understand each refusal, and a stream of theirs ends with its grant.
func TestGRPC(t *testing.T) {
	const alices, bobs, unknown, broken = "Bearer alice", "Bearer bob", "Bearer unknown", "Bearer broken"
	var mu sync.Mutex
	answers := map[string]string{alices: alice, bobs: "bob@example.com"}
	site := testutil.JSONSite(t, testutil.Answers{testutil.LoggedUser: func(r *http.Request) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		switch credential := r.Header.Get("Authorization"); {
		case answers[credential] != "":
			return http.StatusOK, fmt.Sprintf(`{"message":%q}`, answers[credential])
		case credential == broken:
			return http.StatusInternalServerError, `{}`
		default:
			return http.StatusUnauthorized, `{"exc_type":"AuthenticationError"}`
		}
	}})
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	address := testutil.FreeAddress(t)
	caddy := testutil.RunCaddy(t, fmt.Sprintf(`{
	grace_period 1s
	servers {
		protocols h1 h2c
	}
}
http://%s {
	frappe_auth %s {
		require user %s
		cache {
			ttl 1s
			bearer_ttl 1s
		}
	}
	reverse_proxy h2c://%s
}`, address, site.URL, alice, listener.Addr()))
	dial := func(t *testing.T, credential string) grpc_health_v1.HealthClient {
		t.Helper()
		options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
		if credential != "" {
			options = append(options, grpc.WithPerRPCCredentials(authorization(credential)))
		}
		conn, err := grpc.NewClient("passthrough:///"+address, options...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return grpc_health_v1.NewHealthClient(conn)
	}

	for credential, want := range map[string]codes.Code{
		alices: codes.OK, "": codes.Unauthenticated, unknown: codes.Unauthenticated, "Bearer": codes.Unauthenticated,
		bobs: codes.PermissionDenied, broken: codes.Unavailable,
	} {
		if _, err := dial(t, credential).Check(t.Context(), new(grpc_health_v1.HealthCheckRequest)); status.Code(err) != want {
			t.Errorf("%q: %v, want %v", credential, err, want)
		}
	}

	stream, err := dial(t, alices).Watch(t.Context(), new(grpc_health_v1.HealthCheckRequest))
	if err != nil {
		t.Fatal(err)
	}
	if said, err := stream.Recv(); err != nil || said.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("%v %v", said, err)
	}
	mu.Lock()
	delete(answers, alices)
	mu.Unlock()
	if said, err := stream.Recv(); err == nil {
		t.Errorf("the stream said %v after its grant ended", said)
	}
	testutil.Eventually(t, "Caddy logs why", func() bool { return strings.Contains(caddy.Logs(), "ended a stream") })
}
