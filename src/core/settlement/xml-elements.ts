/**
 * Streams XML and gives some of its elements whole: only the one in hand is kept. Decides only. Document types are refused, and
 * with them every entity of one's own: no bank sends them, and they are how XML is abused.
 */
import { SaxesParser } from 'saxes';
import type { LineCollector } from './line-collector.ts';

/** Limits of one element: a file made to hurt shall stop early. */
const MAX_DEPTH = 40;
const MAX_TEXT_CHARACTERS = 20_000;
const MAX_NODES = 200_000;

/** One element with what is in it; names without their prefix. */
export type XmlNode = {
  readonly name: string;
  /** The attribute Ccy, which is all that statements have. */
  readonly currency: string | null;
  text: string;
  readonly children: XmlNode[];
};

export type XmlSink = {
  /** Names of elements that are given whole. */
  readonly whole: ReadonlySet<string>;
  /** Names that must not stand inside of such a one: an end was lost. */
  readonly alone: ReadonlySet<string>;
  readonly open: (name: string) => void;
  readonly takeWhole: (node: XmlNode, row: number) => void;
  /** An element around those, with its own text. */
  readonly close: (name: string, parent: string, text: string) => void;
};

export type XmlReader = { readonly write: (text: string) => void; readonly end: () => void };

export function createXmlReader(collector: LineCollector, sink: XmlSink): XmlReader {
  const parser = new SaxesParser();
  const path: string[] = [];
  const nodes: XmlNode[] = [];
  let nodeCount = 0;
  let startRow = 0;
  let leaf = '';

  const open = (name: string, currency: string | null): void => {
    path.push(name);
    leaf = '';
    if (path.length > MAX_DEPTH) {
      refuse(collector, `nests deeper than ${MAX_DEPTH} elements`);
      return;
    }
    if (nodes.length === 0) {
      sink.open(name);
      if (!sink.whole.has(name)) return;
      nodeCount = 0;
      startRow = parser.line;
    } else if (sink.alone.has(name)) {
      refuse(collector, `has ${name} inside of ${nodes[0]?.name}, where it cannot be`);
      return;
    }
    nodeCount += 1;
    if (nodeCount > MAX_NODES) {
      refuse(collector, 'has an entry of too many elements');
      return;
    }
    const node: XmlNode = { name, currency, text: '', children: [] };
    nodes.at(-1)?.children.push(node);
    nodes.push(node);
  };
  const close = (): void => {
    const name = path.pop() ?? '';
    const node = nodes.pop();
    if (node === undefined) sink.close(name, path.at(-1) ?? '', leaf.trim());
    else if (nodes.length === 0) sink.takeWhole(node, startRow);
    leaf = '';
  };
  const takeText = (text: string): void => {
    const node = nodes.at(-1);
    if (node !== undefined) node.text += text;
    else leaf += text;
    if ((node?.text ?? leaf).length > MAX_TEXT_CHARACTERS)
      refuse(collector, 'has an element with too much text');
  };
  listen(parser, collector, { open, close, takeText });
  return {
    write: (text) => {
      if (!collector.isStopped()) parser.write(text);
    },
    end: () => {
      if (!collector.isStopped()) parser.close();
    },
  };
}

type Handlers = {
  readonly open: (name: string, currency: string | null) => void;
  readonly close: () => void;
  readonly takeText: (text: string) => void;
};

function listen(parser: SaxesParser, collector: LineCollector, { open, close, takeText }: Handlers): void {
  parser.on('doctype', () => refuse(collector, 'has a document type, which no bank statement has'));
  parser.on('error', (error) => {
    const reason = error.message
      .replace(/^\d+:\d+: /, '')
      .replace(/[^\x20-\x7e]/g, '?')
      .slice(0, 100);
    collector.stop('xml_broken', `is no well-formed XML at line ${parser.line}: ${reason}`);
  });
  parser.on('opentag', (tag) => {
    if (collector.isStopped()) return;
    const currency = tag.attributes.Ccy;
    open(tag.name.slice(tag.name.indexOf(':') + 1), typeof currency === 'string' ? currency : null);
  });
  parser.on('text', takeText);
  parser.on('cdata', takeText);
  parser.on('closetag', () => {
    if (!collector.isStopped()) close();
  });
}

function refuse(collector: LineCollector, message: string): void {
  collector.stop('xml_refused', message);
}

/** The first element at a path of names. */
export function child(node: XmlNode | null, ...names: readonly string[]): XmlNode | null {
  let at: XmlNode | null = node;
  for (const name of names) at = at?.children.find((one) => one.name === name) ?? null;
  return at;
}

/** Its text; null where it is empty or not there. */
export function textOf(node: XmlNode | null, ...names: readonly string[]): string | null {
  const text = child(node, ...names)?.text.trim() ?? '';
  return text === '' ? null : text;
}

/** All texts in it, one behind the other. */
export function allText(node: XmlNode): string {
  return node.children.length === 0 ? node.text.trim() : node.children.map(allText).join('\u001f');
}

type Json = string | { readonly [name: string]: Json | readonly Json[] };

export function jsonOf(node: XmlNode): Json {
  if (node.children.length === 0) return node.text.trim();
  const entries = new Map<string, Json[]>();
  for (const one of node.children) {
    const all = entries.get(one.name);
    if (all === undefined) entries.set(one.name, [jsonOf(one)]);
    else all.push(jsonOf(one));
  }
  return Object.fromEntries([...entries].map(([name, all]) => [name, all.length === 1 ? all[0]! : all]));
}
