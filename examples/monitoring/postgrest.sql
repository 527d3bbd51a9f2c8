-- Prometheus scrapes PostgREST: GET /rpc/billing_metrics. Run this in a schema that PostgREST serves (never serve schema billing
-- itself), then NOTIFY pgrst, 'reload schema';
--
-- A function that returns a domain with the name of a media type answers with the bare text, not with JSON. The name */* stands for
-- whatever was asked for: Prometheus asks for OpenMetrics with a version, which would be no domain's name. The header says what it is.
CREATE DOMAIN "*/*" AS text;

-- With the caller's rights, so that it is for members of billing_monitor alone.
CREATE FUNCTION billing_metrics() RETURNS "*/*"
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('response.headers', '[{"Content-Type": "application/openmetrics-text; version=1.0.0; charset=utf-8"}]', true);
    RETURN billing.metrics();
END
$$;
REVOKE EXECUTE ON FUNCTION billing_metrics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billing_metrics() TO billing_monitor;
COMMENT ON FUNCTION billing_metrics() IS 'How billing is, in numbers, for Prometheus.';

-- Whom Prometheus comes as: a token with "role": "prometheus" in its claims, signed as all your tokens are. PostgREST's own login
-- role (here authenticator) must be allowed to become it.
CREATE ROLE prometheus NOLOGIN;
GRANT billing_monitor TO prometheus;
-- GRANT prometheus TO authenticator;
