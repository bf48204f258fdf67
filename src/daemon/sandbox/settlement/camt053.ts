/**
 * The bank's side: one CAMT.053 (version 8) statement for each currency, with an entry for each deposit that arrived.
 * Amounts are unsigned in major units; the sign is the indicator's. Source: ISO 20022, camt.053.001.08.
 */
import { amountText, dayOf, type Unit } from './row.ts';

/** Money that arrived at the bank; `amount` in the PSP's minor unit of the currency, above zero. */
export interface Arrival {
  readonly deposit: string;
  readonly currency: string;
  readonly amount: number;
  readonly atMs: number;
}

/**
 * @param from,to first and last moment that the statements cover
 * @param payer who pays, as the statement names it
 */
export function camt053(
  arrivals: readonly Arrival[],
  currencies: readonly string[],
  options: {
    readonly payer: string;
    readonly fromMs: number;
    readonly toMs: number;
    readonly unitOf: (currency: string) => Unit;
  },
): string {
  const created = new Date(options.toMs).toISOString();
  const statements = currencies.map((currency, place) =>
    statement(
      currency,
      place,
      arrivals.filter((one) => one.currency === currency),
      options,
    ),
  );
  return `<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08">
  <BkToCstmrStmt>
    <GrpHdr><MsgId>SANDBOX-${options.toMs}</MsgId><CreDtTm>${created}</CreDtTm></GrpHdr>
${statements.join('')}  </BkToCstmrStmt>
</Document>
`;
}

function statement(
  currency: string,
  place: number,
  arrivals: readonly Arrival[],
  options: Parameters<typeof camt053>[2],
): string {
  const unit = bankUnit(options.unitOf(currency));
  const closing = arrivals.reduce((sum, { amount }) => sum + shown(amount, options.unitOf(currency)), 0);
  const [from, to] = [dayOf(options.fromMs), dayOf(options.toMs)];
  return `    <Stmt>
      <Id>${currency}-${to}</Id>
      <ElctrncSeqNb>1</ElctrncSeqNb>
      <CreDtTm>${new Date(options.toMs).toISOString()}</CreDtTm>
      <FrToDt><FrDtTm>${from}T00:00:00Z</FrDtTm><ToDtTm>${to}T23:59:59Z</ToDtTm></FrToDt>
      <Acct><Id><Othr><Id>SANDBOX${currency}${String(place + 1).padStart(4, '0')}</Id></Othr></Id><Ccy>${currency}</Ccy></Acct>
${balance('OPBD', currency, amountText(0, unit), from)}${balance('CLBD', currency, amountText(closing, unit), to)}${arrivals
  .map((arrival) =>
    entry(arrival, amountText(shown(arrival.amount, options.unitOf(currency)), unit), options.payer),
  )
  .join('')}    </Stmt>
`;
}

/** A bank counts ISK and UGX in whole units, whatever the PSP does. */
function bankUnit(unit: Unit): Unit {
  return unit.step === 100 ? { decimals: 0, step: 1 } : { decimals: unit.decimals, step: 1 };
}

function shown(amount: number, unit: Unit): number {
  return unit.step === 100 ? amount / 100 : amount;
}

function balance(code: 'OPBD' | 'CLBD', currency: string, amount: string, day: string): string {
  return `      <Bal><Tp><CdOrPrtry><Cd>${code}</Cd></CdOrPrtry></Tp><Amt Ccy="${currency}">${amount}</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>${day}</Dt></Dt></Bal>
`;
}

function entry(arrival: Arrival, amount: string, payer: string): string {
  const day = dayOf(arrival.atMs);
  return `      <Ntry>
        <Amt Ccy="${arrival.currency}">${amount}</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>
        <BookgDt><Dt>${day}</Dt></BookgDt><ValDt><Dt>${day}</Dt></ValDt>
        <AcctSvcrRef>B-${arrival.deposit}</AcctSvcrRef>
        <BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>RCDT</Cd><SubFmlyCd>ESCT</SubFmlyCd></Fmly></Domn></BkTxCd>
        <NtryDtls><TxDtls>
          <Refs><EndToEndId>${arrival.deposit}</EndToEndId></Refs>
          <Amt Ccy="${arrival.currency}">${amount}</Amt><CdtDbtInd>CRDT</CdtDbtInd>
          <RltdPties><Dbtr><Pty><Nm>${payer}</Nm></Pty></Dbtr></RltdPties>
          <RmtInf><Ustrd>${payer} PAYOUT ${arrival.deposit}</Ustrd></RmtInf>
        </TxDtls></NtryDtls>
      </Ntry>
`;
}
