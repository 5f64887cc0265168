"""The program at a site: leases work, asks the site's rules, drives its batch system, reports."""
