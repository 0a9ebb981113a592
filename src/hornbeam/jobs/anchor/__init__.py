"""`hornbeam anchor`: values of training tasks under a reference policy (PVPO)."""
