package frappeauth

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.26.0"
	"go.opentelemetry.io/otel/trace"
)

// tracerName is the instrumentation scope of the spans.
const tracerName = "github.com/caddy-frappe/frappe-auth"

// startVerification starts the span around a verification, if the request is traced: with Caddy's `tracing` before the
// handler. Otherwise there is no span.
func startVerification(ctx context.Context) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, nil
	}
	return parent.TracerProvider().Tracer(tracerName).Start(ctx, "frappe_auth")
}

// endVerification ends the span around a verification, and says in it what became of the request.
func endVerification(span trace.Span, id *identified, refused *refusal) {
	defer span.End()
	var fields verdictFields
	if refused == nil {
		fields = id.fields()
		span.SetAttributes(semconv.EnduserID(id.user), attribute.String("frappe_auth.backend", fields.backend))
	} else {
		fields = refused.fields()
	}
	span.SetAttributes(
		attribute.String("frappe_auth.scheme", string(fields.scheme)),
		attribute.String("frappe_auth.cache", fields.cache),
		attribute.String("frappe_auth.outcome", fields.outcome.String()),
	)
	if fields.outcome == outcomeUnavailable {
		span.SetStatus(codes.Error, refused.reason.Error())
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

// passTraceOn tells who is asked which trace the question belongs to (W3C Trace Context), by numbers alone: in tracestate
// and baggage the client has a say.
func passTraceOn(ctx context.Context, header http.Header) {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return
	}
	ctx = trace.ContextWithSpanContext(ctx, span.WithTraceState(trace.TraceState{}))
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
}
