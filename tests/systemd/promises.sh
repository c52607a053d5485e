# What is promised of the package, in the order in which it is tried: each goes on where the one before has left off.
# Sourced by `run`, whose tools it uses. In single quotes is what runs in the container.
# shellcheck shell=bash disable=SC2016,SC2034
#
# `! command || exit 1`, since the shell does not end at a command that is negated.

promises=(
  an_installation_starts_nothing_and_closes_its_files
  install_md_leads_from_nothing_to_a_mirrored_folder
  the_units_are_sound_and_closed
  the_manual_pages_and_completions_are_there
  systemctl_status_tells_how_each_folder_stands
  a_reload_adds_a_folder_and_an_invalid_one_changes_nothing
  an_outcome_is_one_journal_entry_with_the_documented_fields
  no_file_name_forges_an_entry
  the_ten_questions_of_operations_md_are_answered
  a_daemon_that_is_killed_comes_back_and_converges
  a_daemon_that_fails_is_started_again_at_growing_intervals
  a_pipeline_that_hangs_is_ended_by_the_watchdog_and_one_that_waits_is_not
  a_stop_lets_uploads_end
  an_invalid_configuration_ends_in_78_without_a_restart
  what_the_configuration_names_in_vain_ends_in_78_as_well
  secrets_from_credentials_work_and_show_nowhere
  an_encrypted_credential_works
  logfile_and_stdout_work_from_the_unit
  check_names_a_folder_that_the_service_may_not_read
  an_upgrade_keeps_configuration_and_catalog
  a_removal_stops_the_daemon_and_keeps_the_configuration
  a_purge_leaves_nothing
)

an_installation_starts_nothing_and_closes_its_files() {
  # The first block of the walk-through.
  commands docs/INSTALL.md '## From nothing to a mirrored folder' | sed '/^# -- next block$/q' >"$log/install-1"
  inside bash -euxc "cd /root && $(cat "$log/install-1")"
  script '
    for unit in agent-portail urls-generator; do
      [ "$(systemctl is-enabled $unit)" = disabled ] && [ "$(systemctl is-active $unit)" = inactive ]
    done
    [ "$(stat -c "%a %U %G" /etc/agent-portail/config.toml)" = "640 root agent-portail" ]
    [ "$(stat -c "%a %U %G" /etc/agent-portail/urls.toml)" = "640 root urls-generator" ]
    [ "$(stat -c "%a %U" /etc/credstore)" = "700 root" ]
    ! runuser -u urls-generator -- cat /etc/agent-portail/config.toml || exit 1
    # The packaged configuration is valid as it is, and waits for a folder.
    agent-portail check --offline | grep "has no folder"
    agent-portail -c /etc/agent-portail/urls.toml config >/dev/null'
}

install_md_leads_from_nothing_to_a_mirrored_folder() {
  commands docs/INSTALL.md '## From nothing to a mirrored folder' | sed '1,/^# -- next block$/d' >"$log/install-2"
  cat "$log/install-2"
  inside bash -euxc "cd /root && $(cat "$log/install-2")"
  [ "$(property ActiveState)" = active ]
  equal "the row of the file" "$(sql "SELECT state FROM portail.file WHERE path = 'hello.txt'")" synced
  verified
  # A second set-up finds nothing to do.
  inside agent-portail setup | grep 'nothing to do'
}

the_units_are_sound_and_closed() {
  script 'for unit in agent-portail urls-generator; do
      found=$(systemd-analyze verify --man=no $unit.service 2>&1)
      [ -z "$found" ] || { echo "$found"; exit 1; }
      # Fails above 1.5.
      systemd-analyze security --no-pager --threshold=15 $unit.service | tail -1
    done'
}

the_manual_pages_and_completions_are_there() {
  script 'export MANWIDTH=100
    man --warnings agent-portail 2>&1 | grep -q "Exit status"
    man 5 agent-portail.toml 2>&1 | grep -q reconcile_every
    for page in /usr/share/man/man[15]/agent-portail*; do
      found=$(man --warnings --local-file "$page" 2>&1 >/dev/null)
      [ -z "$found" ] || { echo "$page: $found"; exit 1; }
    done
    man 1 agent-portail-deletes-approve >/dev/null
    whatis agent-portail.toml 2>/dev/null | grep "configuration of agent-portail" || man --whatis --local-file /usr/share/man/man5/agent-portail.toml.5.gz
    . /usr/share/bash-completion/completions/agent-portail
    COMP_WORDS=(agent-portail rest) COMP_CWORD=1
    read -r _ _ function _ < <(complete -p agent-portail | sed "s/-o [a-z]* //g")
    "$function" agent-portail rest agent-portail
    [ "${COMPREPLY[*]}" = restore ]
    [ -s /usr/share/zsh/vendor-completions/_agent-portail ] && [ -s /usr/share/fish/vendor_completions.d/agent-portail.fish ]'
}

systemctl_status_tells_how_each_folder_stands() {
  until_in_sync
  inside systemctl status --no-pager agent-portail >"$log/status"
  cat "$log/status"
  grep 'Status: "documents: in_sync, 0 queued"' "$log/status"
}

a_reload_adds_a_folder_and_an_invalid_one_changes_nothing() {
  local process
  process=$(property MainPID)
  script 'mkdir /srv/photos && echo photo >/srv/photos/a.jpg && chgrp -R documents /srv/photos && chmod 750 /srv/photos
    printf "\n[[folder]]\npath = \"/srv/photos\"\nprefix = \"photos/\"\n" >>/etc/agent-portail/config.toml
    systemctl reload agent-portail'
  until_true "the new folder is synced" 'journalctl --quiet --unit agent-portail FOLDER=photos ACTION=uploaded | grep a.jpg'
  script 'cp -a /etc/agent-portail/config.toml /root/good.toml; echo "[nonsense]" >>/etc/agent-portail/config.toml
    ! systemctl reload agent-portail || exit 1
    journalctl --unit agent-portail --lines 20 | grep nonsense
    # The folder that was there before has not been stopped for the new one.
    ! journalctl --unit agent-portail FOLDER=documents --output cat | grep "^stopping the folder" || exit 1
    cat /root/good.toml >/etc/agent-portail/config.toml; echo two >/srv/photos/b.jpg'
  until_true "the daemon goes on" 'journalctl --quiet --unit agent-portail FOLDER=photos ACTION=uploaded | grep b.jpg'
  equal "the process" "$(property MainPID)" "$process"
  until_in_sync
  verified
}

an_outcome_is_one_journal_entry_with_the_documented_fields() {
  local found
  script 'printf 12345 >/srv/documents/five && chgrp documents /srv/documents/five'
  until_true "it is uploaded" 'journalctl --quiet --unit agent-portail ACTION=uploaded PATH=five | grep .'
  found=$(entries PATH=five)
  equal "the entries" "$(wc -l <<<"$found")" 1
  for field in '"PRIORITY":"5"' '"FOLDER":"documents"' '"KEY":"documents/five"' '"SIZE":"5"' '"MESSAGE":"uploaded five"' \
    '"SYSLOG_IDENTIFIER":"agent-portail"' '"_SYSTEMD_UNIT":"agent-portail.service"'; do
    grep -qF "$field" <<<"$found" || fail "no $field in $found"
  done
  grep -Eq '"DURATION_MS":"[0-9]+"' <<<"$found"
  # One that can't be read is an error, and one that is gone an outcome.
  script 'echo x >/srv/documents/closed && chmod 600 /srv/documents/closed && rm /srv/documents/five'
  until_true "it is deleted" 'journalctl --quiet --unit agent-portail ACTION=deleted PATH=five | grep .'
  until_true "it has failed" 'journalctl --quiet --unit agent-portail ACTION=failed PATH=closed | grep .'
  grep -qF '"PRIORITY":"3"' <<<"$(entries ACTION=failed PATH=closed)"
  grep -qF 'ermission denied' <<<"$(entries ACTION=failed PATH=closed --output-fields ERROR)"
  grep -qF '"PRIORITY":"5"' <<<"$(entries ACTION=deleted PATH=five)"
  grep -qF '"FILES":' <<<"$(entries ACTION=reconciled)"
  script 'rm /srv/documents/closed'
  # None has a field that is documented nowhere.
  local field
  for field in $(inside journalctl --quiet --output json _COMM=agent-portail | grep -oE '"[A-Z][A-Z0-9_]*":' | tr -d '":' | sort -u); do
    case $field in PRIORITY | SYSLOG_*) continue ;; esac
    grep -q "\`$field\`" docs/OPERATIONS.md || fail "the field $field is documented nowhere"
  done
}

no_file_name_forges_an_entry() {
  script 'file=$(printf "/srv/documents/a\nPRIORITY=0\nMESSAGE=forged\n_UID=0\n\033[31m")
    echo x >"$file" && chgrp documents "$file"'
  until_true "it is uploaded" 'journalctl --quiet --unit agent-portail ACTION=uploaded --output export | grep -qa "^MESSAGE=uploaded a.n"'
  ! entries MESSAGE=forged | grep . || fail "an entry was forged"
  ! entries PRIORITY=0 | grep . || fail "a priority was forged"
  # It is found by its name, in one entry.
  equal "the entries" "$(entries 'PATH=a\nPRIORITY=0\nMESSAGE=forged\n_UID=0\n\u{1b}[31m' ACTION=uploaded | wc -l)" 1
  script 'rm /srv/documents/a*'
  until_in_sync
}

the_ten_questions_of_operations_md_are_answered() {
  commands docs/OPERATIONS.md '### Ten questions' >"$log/questions"
  equal "the questions" "$(grep -c '^# [0-9]' "$log/questions")" 10
  inside bash -euxc "$(cat "$log/questions")" >"$log/answers"
  for answer in 'uploaded hello.txt' 'deleted five' '"ERROR"' 'NRestarts=' 'uploaded  *|'; do
    grep -q -- "$answer" "$log/answers" || fail "no $answer among the answers"
  done
}

a_daemon_that_is_killed_comes_back_and_converges() {
  local process
  process=$(property MainPID)
  script 'for i in $(seq 200); do echo "$i" >/srv/documents/many-$i; done; chgrp documents /srv/documents/many-*
    kill -9 "$1"; echo meanwhile >/srv/documents/meanwhile; chgrp documents /srv/documents/meanwhile' "$process"
  until_true "it is started again" '[ "$(systemctl show --value --property NRestarts agent-portail)" -ge 1 ]'
  until_in_sync
  [ "$(property MainPID)" != "$process" ]
  equal "the rows" "$(sql "SELECT count(*) FROM portail.file WHERE state = 'synced' AND (path LIKE 'many-%' OR path = 'meanwhile')")" 201
  verified
}

a_daemon_that_fails_is_started_again_at_growing_intervals() {
  inside systemctl stop agent-portail
  drop_in "$(printf '[Service]\nType=exec\nExecStart=\nExecStart=/bin/false\n')"
  inside systemctl start agent-portail || true
  LIMIT=60 until_true "it has failed three times" '[ "$(systemctl show --value --property NRestarts agent-portail)" -ge 3 ]'
  local times
  mapfile -t times < <(inside journalctl --unit agent-portail --output short-unix _PID=1 | awk '/Main process exited/ { sub(/\..*/, "", $1); print $1 }' | tail -3)
  # 1 s and 4 s, 1 s and 8 s.
  local first=$((times[1] - times[0])) second=$((times[2] - times[1]))
  echo "started again after $first and $second s"
  [ "$first" -ge 4 ] && [ "$first" -le 9 ] && [ "$second" -ge 8 ] && [ "$second" -le 15 ] && [ "$second" -gt "$first" ]
  inside systemctl stop agent-portail
  drop_out
  script 'systemctl reset-failed agent-portail; systemctl start agent-portail'
  until_in_sync
}

a_pipeline_that_hangs_is_ended_by_the_watchdog_and_one_that_waits_is_not() {
  # It feeds the watchdog while it has nothing to do, and while a file waits for its next try: longer than twice the interval.
  drop_in "$(printf '[Service]\nWatchdogSec=2s\n')"
  script 'systemctl restart agent-portail; echo x >/srv/documents/closed && chmod 600 /srv/documents/closed'
  until_true "it has failed" 'journalctl --quiet --unit agent-portail --since -10s ACTION=failed PATH=closed | grep .'
  sleep 6
  equal "the restarts of one that waits" "$(property NRestarts)" 0
  equal "its state" "$(property ActiveState)" active
  script 'rm /srv/documents/closed'
  # The first upload never comes back: only this build can do that.
  drop_in "$(printf '[Service]\nWatchdogSec=3s\nExecStart=\nExecStart=/given/agent-portail-failpoints run\nEnvironment=FAILPOINTS=before-put=1*pause\n')"
  script 'systemctl restart agent-portail; echo hang >/srv/documents/hang; chgrp documents /srv/documents/hang'
  until_true "the watchdog has ended it" 'journalctl --quiet --unit agent-portail _PID=1 | grep "Watchdog timeout"'
  until_true "it is started again" '[ "$(systemctl show --value --property NRestarts agent-portail)" -ge 1 ]'
  drop_out
  inside systemctl restart agent-portail
  until_in_sync
  verified
}

a_stop_lets_uploads_end() {
  script 'for i in 1 2 3 4 5 6; do head -c 30000000 /dev/urandom >/srv/photos/large-$i; done
    chgrp documents /srv/photos/large-*
    until [ -n "$(runuser -u agent-portail -- psql --no-psqlrc -tAc "SELECT 1 FROM portail.upload LIMIT 1")" ] ||
      journalctl --quiet --unit agent-portail ACTION=uploaded | grep -q large; do sleep 0.05; done
    systemctl stop agent-portail'
  equal "how it ended" "$(property Result) $(property ExecMainStatus)" "success 0"
  grep -q . <<<"$(entries ACTION=stopping)"
  inside systemctl start agent-portail
  until_in_sync
  verified
  script 'rm /srv/photos/large-*'
  until_in_sync
}

an_invalid_configuration_ends_in_78_without_a_restart() {
  script 'cp -a /etc/agent-portail/config.toml /root/good.toml
    sed -i "s/^region/regoin/" /etc/agent-portail/config.toml
    ! systemctl restart agent-portail || exit 1'
  ends_in_78 regoin
  inside cp /root/good.toml /etc/agent-portail/config.toml
}

# It has ended with 78, has said this, and is not started again.
ends_in_78() {
  equal "its status" "$(property ExecMainStatus)" 78
  sleep 3
  equal "its state after a while" "$(property ActiveState) $(property SubState) $(property NRestarts)" "failed failed 0"
  script 'journalctl --unit agent-portail --lines 20 --output cat | grep "$1"' "$1"
}

what_the_configuration_names_in_vain_ends_in_78_as_well() {
  script 'printf "\n[database]\ntls = \"verify-full\"\nca_file = \"/nowhere/ca.pem\"\n" >>/etc/agent-portail/config.toml
    ! systemctl restart agent-portail || exit 1'
  ends_in_78 /nowhere/ca.pem
  script 'cat /root/good.toml >/etc/agent-portail/config.toml; systemctl start agent-portail'
  until_in_sync
}

secrets_from_credentials_work_and_show_nowhere() {
  local password=hidden-p4ssw0rd shown
  # Not as an argument, which the journal notes of whoever logs.
  inside runuser -u postgres -- psql --quiet <<<"ALTER ROLE \"agent-portail\" PASSWORD '$password'"
  script 'install -m 600 /dev/stdin /etc/credstore/agent-portail.db-password <<<"$1"
    printf "\n[database]\nhost = \"127.0.0.1\"\n" >>/etc/agent-portail/config.toml
    systemctl restart agent-portail; echo by-password >/srv/documents/by-password; chgrp documents /srv/documents/by-password' "$password"
  until_true "it is uploaded" 'journalctl --quiet --unit agent-portail ACTION=uploaded PATH=by-password | grep .'
  inside agent-portail check --service
  shown=$(script 'systemctl show agent-portail; systemctl cat agent-portail; systemctl status --full --no-pager agent-portail
    journalctl --output export | tr -d "\000"; process=$(systemctl show --value --property MainPID agent-portail)
    tr "\000" "\n" <"/proc/$process/environ"; tr "\000" " " <"/proc/$process/cmdline"; agent-portail config; curl -s http://127.0.0.1:9464/status')
  grep -q CREDENTIALS_DIRECTORY <<<"$shown" || fail "nothing was looked at"
  for hidden in "$password" "$secret"; do
    ! grep -qF "$hidden" <<<"$shown" || fail "$hidden is shown"
  done
  # A wrong one is told without being quoted.
  script 'install -m 600 /dev/stdin /etc/credstore/agent-portail.aws-secret-access-key <<<wrong-s3cret; systemctl restart agent-portail || true'
  until_true "the refusal is told" 'journalctl --quiet --unit agent-portail --since -30s ACTION=suspended | grep .'
  script '! journalctl --output export | grep -a wrong-s3cret || exit 1
    install -m 600 /dev/stdin /etc/credstore/agent-portail.aws-secret-access-key <<<"$1"; systemctl restart agent-portail' "$secret"
  until_in_sync
}

an_encrypted_credential_works() {
  script 'rm /etc/credstore/agent-portail.db-password
    printf hidden-p4ssw0rd | systemd-creds encrypt --name=db-password - /etc/credstore.encrypted/agent-portail.db-password'
  drop_in "$(printf '[Service]\nLoadCredentialEncrypted=db-password:agent-portail.db-password\n')"
  script 'systemctl restart agent-portail; echo by-encrypted >/srv/documents/by-encrypted; chgrp documents /srv/documents/by-encrypted'
  until_true "it is uploaded" 'journalctl --quiet --unit agent-portail ACTION=uploaded PATH=by-encrypted | grep .'
  drop_out
  script 'rm /etc/credstore.encrypted/agent-portail.db-password; cat /root/good.toml >/etc/agent-portail/config.toml; systemctl restart agent-portail'
  until_in_sync
}

logfile_and_stdout_work_from_the_unit() {
  drop_in "$(printf '[Service]\nEnvironment=LOG_METHOD=logfile\n')"
  script 'systemctl restart agent-portail; echo l >/srv/documents/to-logfile; chgrp documents /srv/documents/to-logfile'
  until_true "the file has it" 'grep -q "SUCCESS.*uploaded to-logfile" /var/log/agent-portail/agent-portail.log'
  script '[ "$(stat -Lc "%U %a" /var/log/agent-portail/agent-portail.log)" = "agent-portail 600" ]
    [ "$(stat -c %a /var/log/agent-portail)" = 750 ]
    ! journalctl --quiet --unit agent-portail ACTION=uploaded PATH=to-logfile | grep . || exit 1'
  drop_in "$(printf '[Service]\nEnvironment=LOG_METHOD=stdout\n')"
  script 'systemctl restart agent-portail; echo s >/srv/documents/to-stdout; chgrp documents /srv/documents/to-stdout'
  until_true "the journal has the line" 'journalctl --quiet --unit agent-portail --output cat | grep -q "SUCCESS.*uploaded to-stdout"'
  drop_out
  inside systemctl restart agent-portail
  until_in_sync
}

check_names_a_folder_that_the_service_may_not_read() {
  inside agent-portail check --service >"$log/check"
  cat "$log/check"
  grep -q '^ok    folder documents: /srv/documents can be read: .* on ' "$log/check"
  script 'mkdir -m 700 /srv/closed && echo x >/srv/closed/x
    printf "\n[[folder]]\npath = \"/srv/closed\"\nprefix = \"closed/\"\n" >>/etc/agent-portail/config.toml
    # Root can read it, and says that this means little.
    agent-portail check >/root/found || true
    cat /root/found
    grep "^warn  user: .*check --service" /root/found
    grep "^ok    folder closed" /root/found
    ! agent-portail check --service >/root/found || exit 1
    cat /root/found
    grep "^FAIL  folder closed: .*ermission denied.* -> .*SupplementaryGroups" /root/found
    grep "^ok    bucket company-files of the folder documents" /root/found
    grep "^ok    versions of bucket company-files" /root/found
    grep "lifecycle of bucket company-files under documents/" /root/found
    ! systemctl cat agent-portail-check || exit 1
    cat /root/good.toml >/etc/agent-portail/config.toml'
}

an_upgrade_keeps_configuration_and_catalog() {
  local before after
  script 'echo "# Mine." >>/etc/agent-portail/config.toml; systemctl enable --quiet agent-portail'
  until_in_sync
  state() {
    inside sha256sum /etc/agent-portail/config.toml
    inside stat -c '%a %U %G' /etc/agent-portail/config.toml
    sql "SELECT count(*), md5(string_agg(path || state || etag || id, ',' ORDER BY id)) FROM portail.file"
    sql "SELECT count(*) FROM portail.event WHERE kind = 'uploaded'"
    inside systemctl is-enabled agent-portail
  }
  before=$(state)
  local process
  process=$(property MainPID)
  inside apt-get install --yes /given/next.deb
  until_true "the new one runs" '[ "$(systemctl show --value --property MainPID agent-portail)" != "$1" ] && systemctl --quiet is-active agent-portail' "$process"
  until_in_sync
  after=$(state)
  equal "what was there" "$after" "$before"
  [ "$(inside systemctl is-active urls-generator)" = inactive ] || fail "a service that did not run was started"
  verified
}

a_removal_stops_the_daemon_and_keeps_the_configuration() {
  inside apt-get remove --yes agent-portail
  script '! systemctl --quiet is-active agent-portail || exit 1
    ! pgrep -x agent-portail || exit 1
    [ ! -e /usr/bin/agent-portail ]
    grep "# Mine." /etc/agent-portail/config.toml'
}

a_purge_leaves_nothing() {
  script 'mkdir -p /etc/agent-portail; echo A=b >/etc/agent-portail/environment'
  inside apt-get purge --yes agent-portail
  script 'left=$(find / -xdev \( -path /proc -o -path /sys -o -path /given -o -path /root -o -path /run/systemd/transient \) -prune -o \
        \( -name "*agent-portail*" -o -name "*urls-generator*" \) -print)
    [ -z "$left" ] || { echo "left: $left"; exit 1; }
    ! getent passwd agent-portail && ! getent passwd urls-generator && ! getent group agent-portail && ! getent group urls-generator || exit 1
    ! systemctl cat agent-portail 2>/dev/null || exit 1'
  # What is not the package's stays.
  equal "the rows of the catalog" "$(inside runuser -u postgres -- psql --no-psqlrc -tAc "SELECT count(*) > 200 FROM portail.file" agent-portail)" t
}
