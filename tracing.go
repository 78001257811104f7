package frappeauth

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.26.0"
	"go.opentelemetry.io/otel/trace"
)

// tracerName is the instrumentation scope of the spans.
const tracerName = "github.com/caddy-frappe/frappe-auth"

// startDecision starts the span around a decision, if the request is traced: with Caddy's `tracing` before the handler.
// Otherwise there is no span.
func startDecision(ctx context.Context) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, nil
	}
	return parent.TracerProvider().Tracer(tracerName).Start(ctx, "frappe_auth")
}

// endDecision ends the span around a decision, and says in it what becomes of the request.
func endDecision(span trace.Span, d *decision) {
	defer span.End()
	if d.rejection == nil {
		span.SetAttributes(semconv.EnduserID(d.user()), attribute.String("frappe_auth.backend", d.backend()))
	}
	span.SetAttributes(
		attribute.String("frappe_auth.scheme", string(d.credential.Scheme)),
		attribute.String("frappe_auth.cache", d.verdict.cache),
		attribute.String("frappe_auth.outcome", d.outcome.String()),
	)
	if d.outcome == outcomeUnavailable {
		span.SetStatus(codes.Error, d.reason.Error())
	}
}

// startCall starts the span around a backend's verification, below that of the request that asks first. It may end
// after that of the request. end must be called.
func startCall(ctx context.Context, parent trace.Span, backend, site string) (called context.Context, end func(error)) {
	if parent == nil || !parent.SpanContext().IsValid() {
		return ctx, func(error) {}
	}
	ctx, span := parent.TracerProvider().Tracer(tracerName).Start(trace.ContextWithSpan(ctx, parent), "frappe_auth "+backend,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.String("frappe_auth.backend", backend)))
	if site != "" {
		span.SetAttributes(attribute.String("frappe_auth.site", site))
	}
	return ctx, func(err error) {
		outcome := callOutcome(err)
		span.SetAttributes(attribute.String("frappe_auth.outcome", outcome))
		if outcome == "unavailable" {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}
