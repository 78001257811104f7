package frappeauth

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.26.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-frappe/frappe-auth/internal/metrics"
)

// tracerName is the instrumentation scope of the spans.
const tracerName = "github.com/caddy-frappe/frappe-auth"

// startDecision starts the span around a decision if the request is traced, that is, if Caddy's `tracing` comes before
// the handler. Otherwise the span is nil.
func startDecision(ctx context.Context) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, nil
	}
	return parent.TracerProvider().Tracer(tracerName).Start(ctx, "frappe_auth")
}

// endDecision records the decision in its span and ends the span.
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

// startCall starts the span around a backend call, below the span of the request that runs it. It may end after that one.
// The caller must call end.
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
		outcome := metrics.CallOutcome(err)
		span.SetAttributes(attribute.String("frappe_auth.outcome", outcome))
		if outcome == "unavailable" {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}
