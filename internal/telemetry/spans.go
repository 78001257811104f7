package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.26.0"
	"go.opentelemetry.io/otel/trace"
)

// tracerName is the instrumentation scope of the spans.
const tracerName = "github.com/caddy-frappe/frappe-auth"

// StartDecisionSpan starts the span around a decision if the request is traced, that is, if Caddy's `tracing` comes
// before the handler. Otherwise the span is nil.
func StartDecisionSpan(ctx context.Context) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, nil
	}
	return parent.TracerProvider().Tracer(tracerName).Start(ctx, "frappe_auth")
}

// DecisionSpan has the attributes of the span of a decision.
type DecisionSpan struct {
	User, Backend          string // both empty unless the request is accepted
	Scheme, Cache, Outcome string
	Err                    error // nil unless the backends were unavailable
}

// EndDecisionSpan records a decision in its span and ends the span.
func EndDecisionSpan(span trace.Span, d DecisionSpan) {
	defer span.End()
	if d.User != "" {
		span.SetAttributes(semconv.EnduserID(d.User), attribute.String("frappe_auth.backend", d.Backend))
	}
	span.SetAttributes(
		attribute.String("frappe_auth.scheme", d.Scheme),
		attribute.String("frappe_auth.cache", d.Cache),
		attribute.String("frappe_auth.outcome", d.Outcome),
	)
	if d.Err != nil {
		span.SetStatus(codes.Error, d.Err.Error())
	}
}

// StartCallSpan starts the span around a backend call, below the span of the request that runs it. It may end after the
// request's span. The caller must call end with the backend's error.
func StartCallSpan(
	ctx context.Context, parent trace.Span, backend, site string,
) (called context.Context, end func(error)) {
	if parent == nil || !parent.SpanContext().IsValid() {
		return ctx, func(error) {}
	}
	ctx, span := parent.TracerProvider().Tracer(tracerName).Start(trace.ContextWithSpan(ctx, parent),
		"frappe_auth "+backend,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.String("frappe_auth.backend", backend)))
	if site != "" {
		span.SetAttributes(attribute.String("frappe_auth.site", site))
	}
	return ctx, func(err error) {
		outcome := callOutcome(err)
		span.SetAttributes(attribute.String("frappe_auth.outcome", outcome))
		if outcome == callUnavailable {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}
