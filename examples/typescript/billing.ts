// A thin layer over supabase-js for billing_rpc: arguments checked by name, calls repeated when Postgres asks for it,
// answers judged. Copy it together with billing_rpc.ts.
import type { SupabaseClient } from '@supabase/supabase-js'
import type { Database } from './billing_rpc.js'

export type { Database, Json } from './billing_rpc.js'

type Schema = Database['public']
export type RpcName = keyof Schema['Functions']
export type RpcArgs<F extends RpcName> = Schema['Functions'][F]['Args']
export type RpcAnswer<F extends RpcName> = Schema['Functions'][F]['Returns']
export type Reason = Schema['Enums']['billing_reason']
export type CreditOutcome = Schema['CompositeTypes']['credit_outcome']

/** Your own generated types together with these, which know what is never null: `createClient<WithBilling<App>>()`. */
export type WithBilling<App extends { public: { Functions: object; Enums: object; CompositeTypes: object } }> =
  Omit<App, 'public'> & { public: Omit<App['public'], 'Functions' | 'Enums' | 'CompositeTypes'> & {
    [K in 'Functions' | 'Enums' | 'CompositeTypes']: Omit<App['public'][K], keyof Schema[K]> & Schema[K]
  } }

/** There was no answer: no permission, no connection, or Postgres asked too often for the call to be repeated. */
export class BillingError extends Error {
  constructor(readonly code: string, readonly status: number, message: string) {
    super(message)
    this.name = 'BillingError'
  }
}

// Serialization failure, deadlock, lock timeout, statement timeout: nothing was written. No code: the answer was lost,
// and whether the call took effect is not known; the idempotency key makes asking again safe.
const REPEATABLE = new Set(['40001', '40P01', '55P03', '57014', ''])
const MAX_TRIES = 5

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

/**
 * Calls one function. Unlike `client.rpc` it refuses arguments that the function does not have, and repeats the call
 * after a serialization failure or a lost connection. A refusal is an answer, not an error.
 */
export async function billing<F extends RpcName>(
  client: Pick<SupabaseClient<Database>, 'rpc'>, name: F, args: RpcArgs<F>,
): Promise<RpcAnswer<F>> {
  for (let attempt = 1; ; attempt++) {
    const { data, error, status } = await client.rpc(name, args)
    if (!error) return data as unknown as RpcAnswer<F>
    const code = error.code ?? ''
    const again = REPEATABLE.has(code) || status === 503
    if (!again || attempt === MAX_TRIES) throw new BillingError(code, status, error.message)
    await pause(Math.random() * 50 * 2 ** attempt)
  }
}

export type Spent =
  | { kind: 'spent'; balance: number; repeated: boolean }
  | { kind: 'too few' }
  | { kind: 'refused'; detail: string }

/** What an application makes of the answer to spend_credits: every reason has its place. */
export function judgeSpending(outcome: CreditOutcome): Spent {
  switch (outcome.reason) {
    case 'applied':
    case 'replay': // this very request was applied before: go on as if it had been now
      return { kind: 'spent', balance: outcome.balance ?? 0, repeated: outcome.reason === 'replay' }
    case 'invalid':
      return outcome.detail === 'insufficient_credits'
        ? { kind: 'too few' }
        : { kind: 'refused', detail: outcome.detail ?? 'invalid' } // a mistake of ours: docs/reasons.md says which
    case 'duplicate': // answers to purchases
    case 'ignored': // and to events; a spending never hears them
    case 'failed':
      return { kind: 'refused', detail: outcome.detail ?? outcome.reason }
    default:
      return neverReached(outcome.reason)
  }
}

export type Bought = { kind: 'credited'; balance: number } | { kind: 'credited already' } | { kind: 'refused'; detail: string }

/** The same for apply_credit_purchase and grant_credits. */
export function judgeCrediting(outcome: CreditOutcome): Bought {
  switch (outcome.reason) {
    case 'applied':
    case 'replay':
      return { kind: 'credited', balance: outcome.balance ?? 0 }
    case 'duplicate': // the webhook was faster, or another request for the same payment
      return { kind: 'credited already' }
    case 'invalid':
    case 'ignored':
    case 'failed':
      return { kind: 'refused', detail: outcome.detail ?? outcome.reason }
    default:
      return neverReached(outcome.reason)
  }
}

/** Does not compile if a switch has forgotten a reason. */
export function neverReached(value: never): never {
  throw new Error(`not a reason that is known here: ${String(value)}`)
}
