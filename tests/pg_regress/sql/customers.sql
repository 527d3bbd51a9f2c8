-- People: who a text names, how a customer comes to be, and how several identifiers become one customer.
\pset null '(null)'
CREATE EXTENSION billing_rpc;

-- 1. Kinds. Every text has one; what names nobody says why. Reading makes nobody.
SELECT identifier, kind, found, detail
FROM (VALUES
    (NULL), (''), ('   '), (U&'\2003\00a0'),
    ('null'), ('Undefined'), ('NONE'), ('NaN'), ('<user_id>'), ('{{ user.id }}'), ('${userId}'),
    ('cus_ada'), ('CUS_ada'), ('Cus_ada'), ('cus_'), ('cus_a b'),
    ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), ('{A0EEBC999C0B4EF8BB6D6BB9BD380A11}'),
    ('a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11'), ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1'),
    ('1'), ('007'), ('9223372036854775807'), ('9223372036854775808'), ('0'), ('-1'), ('+1'), ('1.0'), ('1e3'), (U&'\0661'),
    ('ada@example.com'), ('test@example.com'), ('ADA@Example.COM'), ('ada@localhost'), ('ada@@example.com'),
    ('ada@example..com'), ('a da@example.com'), ('@example.com'), ('ada@'), ('Ada <ada@example.com>'),
    ('user_2abc'), ('01ARZ3NDEKTSV4RRFFQ69G5FAV'), ('ada'),
    (' 1'), ('1 '), (' ada@example.com')
) AS given (identifier), LATERAL resolve_billing_user(identifier);

-- 254 bytes are the most that an e-mail address has.
SELECT octet_length(address), kind
FROM (VALUES (repeat('a', 242) || '@example.com'), (repeat('a', 243) || '@example.com')) AS given (address),
    LATERAL resolve_billing_user(address);

-- An omitted identifier is a null one.
SELECT kind, found, detail FROM resolve_billing_user();
SELECT count(*) AS customers FROM billing.customers;

-- 2. A uuid, an integer or an e-mail that nobody is known by: the first call that is applied makes the
-- customer. Any other answer makes nobody.
SELECT reason, detail FROM grant_credits('7', 0, 'no-1');
SELECT reason, detail FROM spend_credits('7', 1, 'no-2');
SELECT reason, detail FROM grant_credits('7', 10, '');
SELECT balance, available FROM credit_balance('7');
SELECT count(*) AS customers FROM billing.customers;

SELECT reason, detail, balance FROM grant_credits('7', 10, 'yes-1');
SELECT reason, detail, balance FROM grant_credits('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 10, 'yes-2');
SELECT reason, detail, balance FROM grant_credits('Ada@Example.com', 10, 'yes-3');
SELECT user_id, legacy_id, email FROM billing.customers ORDER BY legacy_id, email;

-- Other spellings find the same customer.
SELECT identifier, found
FROM (VALUES ('007'), ('{A0EEBC999C0B4EF8BB6D6BB9BD380A11}'), ('ada@example.com'), ('ADA@EXAMPLE.COM')) AS given (identifier),
    LATERAL resolve_billing_user(identifier);

-- A provider code that nobody linked names nobody, and never makes anybody.
SELECT reason, detail FROM grant_credits('cus_stranger', 10, 'no-3');
SELECT reason, detail FROM grant_credits('CUS_stranger', 10, 'no-4');
SELECT reason, detail FROM spend_credits('cus_stranger', 10, 'no-5');

-- What names nobody by its form is told so, by every call.
SELECT identifier, reason, detail
FROM (VALUES (NULL), (' '), ('undefined'), ('{{id}}'), ('ada'), ('-1')) AS given (identifier),
    LATERAL grant_credits(identifier, 10, 'no-6');
SELECT count(*) AS customers FROM billing.customers;

-- 3. Registering. All identifiers are new: a customer with all of them.
SELECT reason, detail, email, legacy_id, stripe_customer_id, paystack_customer_code, external_id
FROM register_billing_user(email => 'Bob@Example.com', legacy_id => 20, stripe_customer_id => 'cus_bob');

-- The same again, or a part of it: a replay, with all that is known.
SELECT reason, detail, email, legacy_id, stripe_customer_id
FROM register_billing_user(email => 'bob@example.com', legacy_id => 20, stripe_customer_id => 'cus_bob');
SELECT reason, email, legacy_id, stripe_customer_id FROM register_billing_user(stripe_customer_id => 'cus_bob');

-- Something new for one customer is added.
SELECT reason, user_id, email, legacy_id, paystack_customer_code
FROM register_billing_user(user_id => 'b0b00000-0000-0000-0000-000000000000', legacy_id => 20, paystack_customer_code => 'CUS_bob');

-- Every identifier finds him now.
SELECT identifier, kind, email
FROM (VALUES ('20'), ('bob@example.com'), ('cus_bob'), ('CUS_bob'), ('b0b00000-0000-0000-0000-000000000000')) AS given (identifier),
    LATERAL resolve_billing_user(identifier);

-- A further provider code becomes an alias, and finds him as the first does. The first stays where it is.
SELECT reason, stripe_customer_id FROM register_billing_user(legacy_id => 20, stripe_customer_id => 'cus_bob_guest');
SELECT reason, stripe_customer_id FROM register_billing_user(legacy_id => 20, stripe_customer_id => 'cus_bob_guest');
SELECT reason, paystack_customer_code FROM register_billing_user(legacy_id => 20, paystack_customer_code => 'CUS_bob_2');
SELECT code FROM billing.customer_aliases ORDER BY code;
SELECT found, email FROM resolve_billing_user('cus_bob_guest');
SELECT reason, email, stripe_customer_id FROM register_billing_user(stripe_customer_id => 'cus_bob_guest');
SELECT reason, balance FROM grant_credits('CUS_bob_2', 5, 'bob-1');
SELECT balance FROM credit_balance('cus_bob_guest');

-- A provider code alone makes nobody.
SELECT reason, detail FROM register_billing_user(stripe_customer_id => 'cus_nobody');
SELECT reason, detail FROM register_billing_user(stripe_customer_id => 'cus_nobody', paystack_customer_code => 'CUS_nobody');

-- 4. Nobody is ever moved. Identifiers of two customers, or a second id for one, are a conflict,
-- and nothing is written.
SELECT reason, detail, email FROM register_billing_user(legacy_id => 20, email => 'ada@example.com');
SELECT reason, detail FROM register_billing_user(legacy_id => 7, stripe_customer_id => 'cus_bob');
SELECT reason, detail FROM register_billing_user(legacy_id => 7, stripe_customer_id => 'cus_bob_guest');
SELECT reason, detail FROM register_billing_user(legacy_id => 21, stripe_customer_id => 'cus_bob');
SELECT reason, detail FROM register_billing_user(legacy_id => 21, email => 'bob@example.com');
SELECT reason, detail FROM register_billing_user(user_id => 'b0b11111-0000-0000-0000-000000000000', legacy_id => 20);
SELECT reason, detail FROM register_billing_user(legacy_id => 21, stripe_customer_id => 'cus_new', paystack_customer_code => 'CUS_bob');
SELECT legacy_id, found FROM (VALUES ('21'), ('cus_new')) AS given (legacy_id), LATERAL resolve_billing_user(legacy_id);

-- 5. E-mail addresses change. Given with the customer's own id, the new one replaces the old one ...
SELECT reason, email FROM register_billing_user(legacy_id => 20, email => 'robert@example.com');
SELECT found FROM resolve_billing_user('bob@example.com');
-- ... unless somebody else has it; and without such an id, a second e-mail is a conflict.
SELECT reason, detail FROM register_billing_user(legacy_id => 20, email => 'ADA@example.com');
SELECT reason, detail FROM register_billing_user(stripe_customer_id => 'cus_bob', email => 'bobby@example.com');
-- An id that is new to the customer is not the customer's own yet.
SELECT reason, email, legacy_id FROM register_billing_user(email => 'ada@example.com', legacy_id => 30, stripe_customer_id => 'cus_ada');
SELECT reason, detail FROM register_billing_user(stripe_customer_id => 'cus_ada', email => 'countess@example.com', user_id => 'ada00000-0000-0000-0000-000000000000');
SELECT email FROM resolve_billing_user('20');

-- 6. Wrong input.
SELECT reason, detail FROM register_billing_user();
SELECT reason, detail FROM register_billing_user(legacy_id => 0);
SELECT reason, detail FROM register_billing_user(legacy_id => -5);
SELECT reason, detail FROM register_billing_user(legacy_id => 40, email => '');
SELECT reason, detail FROM register_billing_user(legacy_id => 40, email => 'not an address');
SELECT reason, detail FROM register_billing_user(legacy_id => 40, email => ' ada@example.com');
SELECT reason, detail FROM register_billing_user(legacy_id => 40, stripe_customer_id => '');
SELECT reason, detail FROM register_billing_user(legacy_id => 40, stripe_customer_id => 'CUS_1');
SELECT reason, detail FROM register_billing_user(legacy_id => 40, stripe_customer_id => 'cus_' || repeat('x', 251));
SELECT reason, detail FROM register_billing_user(legacy_id => 40, stripe_customer_id => 'cus_' || repeat('x', 252));
SELECT reason, detail FROM register_billing_user(legacy_id => 40, paystack_customer_code => 'cus_1');
SELECT reason, detail FROM register_billing_user(legacy_id => 40, paystack_customer_code => ' ');
SELECT reason, detail FROM register_billing_user(legacy_id => 40, external_id => '');

-- 7. External ids (Clerk, Auth0, Firebase, ULIDs ...) are off unless they are wanted.
SELECT reason, detail FROM register_billing_user(legacy_id => 50, external_id => 'user_2abc');
SELECT reason, detail FROM grant_credits('user_2abc', 10, 'external-1');
SET billing_rpc.external_ids = on;
SELECT identifier, kind, found, detail
FROM (VALUES ('user_2abc'), ('01ARZ3NDEKTSV4RRFFQ69G5FAV'), ('auth0|5f7c'), ('Cus_ada'), ('-1'), ('ada@localhost'),
    ('two words'), (' user_2abc'), ('null')) AS given (identifier),
    LATERAL resolve_billing_user(identifier);
SELECT kind FROM resolve_billing_user(repeat('x', 255));
SELECT kind FROM resolve_billing_user(repeat('x', 256));
SELECT reason, balance FROM grant_credits('user_2abc', 10, 'external-1');
SELECT reason, legacy_id, external_id FROM register_billing_user(legacy_id => 50, external_id => 'user_2abc');
SELECT reason, detail FROM register_billing_user(legacy_id => 50, external_id => 'user_other');
-- What is an identifier of another kind is no external id.
SELECT given.external_id, reason, detail
FROM (VALUES ('cus_ada'), ('77'), ('x@example.com'), ('null'), ('a b'), ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')) AS given (external_id),
    LATERAL register_billing_user(legacy_id => 51, external_id => given.external_id);
-- Off again, they name nobody; the customer keeps it.
RESET billing_rpc.external_ids;
SELECT kind, found FROM resolve_billing_user('user_2abc');
SELECT found FROM resolve_billing_user('50');

-- 8. The whole table, as all that left it.
SELECT user_id, legacy_id, email, external_id, left(stripe_customer_id, 12) AS stripe_customer_id, paystack_customer_code
FROM billing.customers ORDER BY legacy_id, email;
