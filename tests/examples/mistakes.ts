// What the types of examples/typescript are to refuse. tsc fails on a line below `@ts-expect-error` that compiles.
import { createClient } from '@supabase/supabase-js'
import { billing, type CreditOutcome, type Database, neverReached, type RpcAnswer, type WithBilling } from './typescript/billing.js'

const supabase = createClient<Database>('http://127.0.0.1', 'key')
const right = { user_id: '7', credits: 1, idempotency_key: 'k' }

export async function rightOnes() {
  const { data, error } = await supabase.rpc('spend_credits', right)
  if (error) throw error
  const reason: 'applied' | 'replay' | 'duplicate' | 'invalid' | 'ignored' | 'failed' = data.reason
  const applied: boolean = data.applied
  const history = await supabase.rpc('credit_history', { user_id: '7' })
  const kinds: string[] = (history.data ?? []).map((entry) => entry.kind)
  const mine = await supabase.rpc('my_subscription')
  const active: boolean | null = mine.data?.active ?? null
  const credits = await supabase.rpc('my_credits')
  const yes = await supabase.rpc('has_credits', { credits: 1 })
  const may: boolean = yes.data ?? false
  await billing(supabase, 'grant_credits', { ...right, expires_at: null, metadata: { why: ['a', 1, null] } })
  await billing(supabase, 'process_stripe_webhook', { payload: '', signature_header: null })
  await billing(supabase, 'reverse_credit_entry', { entry_id: 1, idempotency_key: 'k' })
  return { reason, applied, kinds, active, may, credits: credits.data?.available }
}

export async function wrongOnes() {
  // @ts-expect-error: no such function
  await supabase.rpc('spend_credit', right)
  // @ts-expect-error: operators' functions are not exposed
  await supabase.rpc('define_pack', {})
  // @ts-expect-error: an argument of another type
  await supabase.rpc('spend_credits', { ...right, credits: '1' })
  // @ts-expect-error: no key
  await supabase.rpc('spend_credits', { user_id: '7', credits: 1 })
  // @ts-expect-error: null where a value is needed
  await supabase.rpc('spend_credits', { ...right, user_id: null })
  // @ts-expect-error: an argument that the function does not have
  await billing(supabase, 'spend_credits', { ...right, meta: {} })
  // @ts-expect-error: a Date is not JSON
  await billing(supabase, 'grant_credits', { ...right, expires_at: new Date() })
  // @ts-expect-error: the header may be missing, and then that is to be said
  await billing(supabase, 'process_stripe_webhook', { payload: '' })

  const { data } = await supabase.rpc('spend_credits', right)
  // @ts-expect-error: there may be no data
  void data.reason
  if (data === null) return
  // @ts-expect-error: one row is no array
  void data[0]
  // @ts-expect-error: no such column
  void data.amount
  // @ts-expect-error: a refusal has no balance
  const balance: number = data.balance
  // @ts-expect-error: not a reason
  void (data.reason === 'refused')
  const history = await billing(supabase, 'credit_history', { user_id: '7' })
  // @ts-expect-error: a list is no row
  void history.kind
  void balance
}

export function forgetful(outcome: CreditOutcome): string {
  switch (outcome.reason) {
    case 'applied':
    case 'replay':
    case 'duplicate':
    case 'invalid':
    case 'failed':
      return 'known'
    default:
      // @ts-expect-error: ignored was forgotten
      return neverReached(outcome.reason)
  }
}

// An application's own types, as `supabase gen types` makes them: everything may be null, and there are tables.
type App = {
  public: {
    Tables: { pictures: { Row: { id: number }; Insert: { id?: number }; Update: { id?: number }; Relationships: [] } }
    Views: { [_ in never]: never }
    Functions: {
      make_picture: { Args: { title: string }; Returns: number }
      spend_credits: { Args: { user_id?: string }; Returns: { applied: boolean | null } }
    }
    Enums: { [_ in never]: never }
    CompositeTypes: { [_ in never]: never }
  }
}

export async function together() {
  const both = createClient<WithBilling<App>>('http://127.0.0.1', 'key')
  const spent = await both.rpc('spend_credits', right)
  const applied: boolean = spent.data?.applied ?? false
  const made = await both.rpc('make_picture', { title: 'dawn' })
  const id: number | null = made.data
  const credited = await billing(both, 'grant_credits', right)
  const rows = await both.from('pictures').select('id')
  // @ts-expect-error: the key is needed here too
  await both.rpc('spend_credits', { user_id: '7', credits: 1 })
  return { applied, id, balance: credited.balance, first: rows.data?.[0]?.id }
}

export type OneRow = RpcAnswer<'credit_balance'>['available']
