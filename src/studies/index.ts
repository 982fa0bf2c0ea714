/** `linnet/studies`: measurements of the method, apart from its use. */
export {
  type CompareRulesOptions,
  compareRules,
  type NamedRule,
  type RuleAgreement,
  verificationRules,
} from './rules/verification-rules.ts';
