-- Only what can be undone is a click. The annotations `recreate`, `confirm-deprecations` and `abandon` consent to something
-- for good and name an id or a number that somebody has read; they are set with kubectl or in Git.

local suspended = obj.spec ~= nil and obj.spec.suspend == true

return {
  -- Nothing is done for a suspended object, so there is nothing to ask for.
  reconcile = {disabled = suspended},
  suspend = {disabled = suspended},
  resume = {disabled = not suspended}
}
