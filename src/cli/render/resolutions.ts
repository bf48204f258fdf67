/** What `breaks resolve --as` takes. Loads nothing: the tree of commands reads it. */
import type { ResolutionAction } from '../../core/settlement/resolve-break.ts';

export const RESOLUTIONS = [
  'acknowledge',
  'assign',
  'wait_for_psp',
  'accept',
  'suspense',
  'adjust',
  'expense',
  'write_off',
  'link',
  'reverse',
  'reopen',
] as const satisfies readonly ResolutionAction[];
