-- One table of @rows@ rows, and a role for each policy: all read the same rows.
CREATE TABLE public.renderings (
    rendering_id bigint PRIMARY KEY,
    price bigint NOT NULL,
    title text NOT NULL
);
INSERT INTO public.renderings SELECT n, 1 + n % 100, 'rendering ' || n FROM generate_series(1, @rows@) AS n;
VACUUM ANALYZE public.renderings;
ALTER TABLE public.renderings ENABLE ROW LEVEL SECURITY;

CREATE ROLE bench_constant;
CREATE ROLE bench_has_credits IN ROLE billing_user;
CREATE ROLE bench_each_row IN ROLE billing_user;
CREATE ROLE bench_constant_price;
CREATE ROLE bench_my_credits IN ROLE billing_user;
CREATE ROLE bench_credit_balance IN ROLE billing_service;
GRANT SELECT ON public.renderings
    TO bench_constant, bench_has_credits, bench_each_row, bench_constant_price, bench_my_credits, bench_credit_balance;

-- Who can pay for it sees all of them.
CREATE POLICY constant ON public.renderings FOR SELECT TO bench_constant USING ((SELECT 1000 >= 10));
CREATE POLICY has_credits ON public.renderings FOR SELECT TO bench_has_credits USING ((SELECT has_credits(10)));
CREATE POLICY each_row ON public.renderings FOR SELECT TO bench_each_row USING (has_credits(10));

-- Each is seen by who can pay for it.
CREATE POLICY constant_price ON public.renderings FOR SELECT TO bench_constant_price
    USING (price <= (SELECT 1000::bigint));
CREATE POLICY my_credits ON public.renderings FOR SELECT TO bench_my_credits
    USING (price <= (SELECT (my_credits()).available));
CREATE POLICY credit_balance ON public.renderings FOR SELECT TO bench_credit_balance
    USING (price <= (SELECT (credit_balance(current_setting('request.jwt.claims')::json ->> 'sub')).available));
